"""`python -m stunwall.daemon`: the daemon of a checkout."""

from stunwall.daemon.main import main

main()
