"""Patches of other people's libraries: put on when they are imported, and taken off again."""
