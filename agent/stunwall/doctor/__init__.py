"""The checks of `stunwall doctor`: configuration, kernel, service, and other programs on this machine."""
