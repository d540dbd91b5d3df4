"""Telemetry: one contract (catalog), what the hot path touches (recorder), spans (tracing), and the ways out."""
