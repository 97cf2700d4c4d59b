"""Recognises STUN: from the bytes of an IP packet to a Detection. No I/O."""
