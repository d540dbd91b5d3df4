"""Draws the shipped dashboards with Grafana's own front end, and reports problems of the result."""
