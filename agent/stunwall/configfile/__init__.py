"""Reads and writes configuration files: TOML in, a Config out."""
