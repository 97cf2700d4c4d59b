"""What `stunwall doctor` checks: configuration, kernel, service, and other programs on this machine."""
