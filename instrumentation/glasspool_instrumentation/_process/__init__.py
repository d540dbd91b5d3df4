"""Calls that run in other processes: what is sent there, what runs there, and what comes back."""
