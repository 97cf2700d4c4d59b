"""wg-quick over Linux's own WireGuard, and rules by which packets bypass it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import AF_INET, AF_INET6

from lab.addresses import CLIENT
from lab.wgquick import INTERFACE, Account
from vm.early import SLOW
from vm.machine import Machine

AROUND_RULES = tuple(
    f"ip {version} rule add from {CLIENT[family]} lookup main"
    for version, family in (("-4", AF_INET), ("-6", AF_INET6))
)
"""Used by people who want to reach the machine at its own address while its VPN is up."""


@dataclass(frozen=True, slots=True)
class WireGuard:
    """The VPN of one machine."""

    machine: Machine

    def up(self) -> None:
        self.machine.run("wg-quick", "up", INTERFACE, seconds=SLOW)

    def down(self) -> None:
        self.machine.run("wg-quick", "down", INTERFACE, seconds=SLOW)


@contextmanager
def configured(machine: Machine) -> Iterator[WireGuard]:
    """A VPN that is still to be started, and has AROUND_RULES while it is up."""
    account = Account()
    hooks = "".join(f"PostUp = {rule}\nPreDown = {rule.replace('add', 'del')}\n" for rule in AROUND_RULES)
    config = account.config.replace("[Peer]", f"{hooks}[Peer]")
    machine.run("install", "-m", "600", "/dev/stdin", f"/etc/wireguard/{INTERFACE}.conf", text=config)
    yield WireGuard(machine)
    account.close()
