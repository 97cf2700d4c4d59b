"""The record of blocked flows: its schema, the writer in the daemon, the reader in the CLI."""
