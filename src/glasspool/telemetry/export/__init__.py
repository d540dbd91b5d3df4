"""Exporters: OpenTelemetry instruments and SDK, the shared Prometheus port, and the counting of losses."""
