"""Which socket a packet belongs to, and which program that is."""
