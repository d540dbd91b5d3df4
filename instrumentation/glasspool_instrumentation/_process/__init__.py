"""Calls that run in other processes: sending them, running them, and receiving their reports."""
