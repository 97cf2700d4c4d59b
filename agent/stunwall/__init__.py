"""stunwall keeps WebRTC from leaking a VPN user's real address."""

__version__ = "0.1.0"
