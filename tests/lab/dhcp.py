"""A network's DHCP and DNS server, Debian's dnsmasq, and the client's DHCP client, Debian's dhcpcd.

The client takes classless static routes (option 121) and the MTU (option 26), as NetworkManager, systemd-networkd and
ISC's dhclient do. It runs no scripts, and its leases are on a file system of its own: nothing of the machine changes.
"""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

from lab.deadline import until
from lab.namespace import Namespace
from lab.process import Process

SERVER = (
    "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file="
    " --log-facility=- --bind-interfaces --no-ping --dhcp-authoritative --leasefile-ro"
)
LEASES = "mount -t tmpfs none /var/lib/dhcpcd"
# Without ARP it neither looks for another machine with the address, nor waits for an answer.
CLIENT = (
    "dhcpcd --nobackground --config /dev/null --script= --noarp --ipv4only --nodelay"
    " --option=classless_static_routes --option=interface_mtu"
)
SECONDS = 10  # it takes less than a tenth of one


@contextmanager
def serves(namespace: Namespace, interface: str, *options: str) -> Iterator[None]:
    """dnsmasq serves on an interface, with these options, inside the `with`."""
    process = Process(namespace, *SERVER.split(), f"--interface={interface}", *options)
    try:
        process.wait_line("started", SECONDS)
        yield
    finally:
        process.stop()


@contextmanager
def leased(client: Namespace, interface: str, *options: str) -> Iterator["DhcpClient"]:
    """The client has a lease on an interface inside the `with`."""
    with closing(DhcpClient(client, interface, *options)) as lease:
        lease.wait()
        yield lease


class DhcpClient:
    """Asks for a lease on an interface, and keeps it until close(), which removes its addresses and routes."""

    def __init__(self, client: Namespace, interface: str, *options: str) -> None:
        self._client, self._interface = client, interface
        command = f"{LEASES}; exec {CLIENT} {' '.join(options)} {interface}"
        self._process = Process(client, "unshare", "--mount", "sh", "-ec", command)

    def close(self) -> None:
        self._process.stop()

    def wait(self) -> str:
        """Returns the leased address, once the interface has it and all routes."""
        try:
            # It makes the routes after the address, and the default route last.
            until(lambda: self.address and self._has_default_route, SECONDS, f"a lease on {self._interface}")
        except TimeoutError as late:
            raise RuntimeError(f"{late}; dhcpcd printed:\n{self._process.output}") from late
        assert self.address is not None
        return self.address

    @property
    def address(self) -> str | None:
        """The leased address, None while there is none."""
        shown = self._client.run("ip", "-j", "-4", "addr", "show", "dev", self._interface).stdout
        # Unlike an address that the lab has set, it has a lifetime.
        leased = (each for link in json.loads(shown) for each in link["addr_info"] if "dynamic" in each)
        return next((str(each["local"]) for each in leased), None)

    @property
    def _has_default_route(self) -> bool:
        return "proto dhcp" in self._client.printed("ip", "route", "show", "default", "dev", self._interface)
