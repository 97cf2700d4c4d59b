"""The UNIX socket between the CLI and the daemon: one JSON line asks, one JSON line answers."""
