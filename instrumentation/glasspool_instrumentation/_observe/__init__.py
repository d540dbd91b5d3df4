"""Observed calls: how each kind of call is recorded, whichever library makes it."""
