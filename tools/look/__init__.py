"""Draws the shipped dashboards with Grafana's own front end, and says what is wrong with what it drew."""
