"""Hides in what others may see who and where the user is. No I/O."""
