"""The version: the build reads it from here, and telemetry scopes show it."""

__version__ = "0.1.0"
