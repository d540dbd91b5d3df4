"""Helpers that examine objects and frames of foreign code without running that code."""
