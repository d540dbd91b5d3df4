"""Wrap the executors that people already run; one telemetry contract for all."""
