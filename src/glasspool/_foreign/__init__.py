"""How objects and frames of other people's code are looked at without running that code."""
