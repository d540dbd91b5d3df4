"""The ways out: OpenTelemetry instruments and SDK, the shared Prometheus port, and what is lost on the way."""
