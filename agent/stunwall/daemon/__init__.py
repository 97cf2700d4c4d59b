"""stunwalld: wires the other rooms together and runs them in one loop."""
