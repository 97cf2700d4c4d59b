"""A home, its provider, a VPN and a STUN server, in network namespaces: real leaks, really seen."""
