"""Patches of other libraries: applied when the libraries are imported, and removable."""
