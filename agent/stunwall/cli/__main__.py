"""`python -m stunwall.cli` is the command `stunwall`."""

from stunwall.cli.app import main

main()
