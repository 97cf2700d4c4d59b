"""`stunwall check`: which ways out of this machine STUN can take, and whether it gets out by them."""
