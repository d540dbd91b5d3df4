"""Runners: they run a task's function on the loop, in a thread, or on any ``concurrent.futures`` executor."""
