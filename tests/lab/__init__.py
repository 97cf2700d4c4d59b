"""A home, its provider, a VPN and a STUN server, in network namespaces: leaks are made and seen here for real."""
