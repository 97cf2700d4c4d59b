"""Which interfaces are the VPN, what leads into them, and the policy route of redirected flows."""
