"""Whose servers an address belongs to, for the services that publish their networks. No I/O, and no DNS is asked.

As published in November 2025; a network may have changed hands since.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


@dataclass(frozen=True, slots=True)
class Service:
    """A service, the page that publishes its networks, and these."""

    name: str
    source: str
    networks: tuple[IPv4Network | IPv6Network, ...]


def _service(name: str, source: str, networks: str) -> Service:
    return Service(name, source, tuple(map(ip_network, networks.split())))


SERVICES = (
    # Also stun.l.google.com.
    _service(
        "Google",
        "https://support.google.com/a/answer/1279090",
        "74.125.250.0/24 142.250.82.0/24 2001:4860:4864:5::/64 2001:4860:4864:6::/64",
    ),
    _service(
        "Cloudflare",
        "https://www.cloudflare.com/ips/",
        "173.245.48.0/20 103.21.244.0/22 103.22.200.0/22 103.31.4.0/22 141.101.64.0/18 108.162.192.0/18 "
        "190.93.240.0/20 188.114.96.0/20 197.234.240.0/22 198.41.128.0/17 162.158.0.0/15 104.16.0.0/13 "
        "104.24.0.0/14 172.64.0.0/13 131.0.72.0/22 2400:cb00::/32 2606:4700::/32 2803:f800::/32 2405:b500::/32 "
        "2405:8100::/32 2a06:98c0::/29 2c0f:f248::/32",
    ),
    _service(
        "Microsoft",  # Teams and Skype
        "https://learn.microsoft.com/microsoft-365/enterprise/urls-and-ip-address-ranges",
        "52.112.0.0/14 52.122.0.0/15 2603:1063::/38",
    ),
    _service("Twilio", "https://www.twilio.com/docs/video/ip-addresses", "168.86.128.0/18"),
    _service(
        "Telegram",
        "https://core.telegram.org/resources/cidr.txt",
        "91.105.192.0/23 91.108.4.0/22 91.108.8.0/22 91.108.12.0/22 91.108.16.0/22 91.108.20.0/22 91.108.56.0/22 "
        "149.154.160.0/20 185.76.151.0/24 2001:67c:4e8::/48 2001:b28:f23c::/48 2001:b28:f23d::/48 "
        "2001:b28:f23f::/48 2a0a:f280::/32",
    ),
)


def service(destination: str) -> str:
    """Return the name of the service that an address belongs to, "" if it is of none of these."""
    try:
        address = ip_address(destination)
    except ValueError:
        return ""
    for each in SERVICES:
        if any(address in network for network in each.networks if network.version == address.version):
            return each.name
    return ""
