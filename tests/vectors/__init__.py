"""Bytes that the tests feed in, with where they come from."""
