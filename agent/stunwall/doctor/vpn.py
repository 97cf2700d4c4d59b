"""The check `vpn`: whether an interface counts as the VPN, and can carry redirected flows."""

from collections.abc import Iterator

from stunwall.config import Mode
from stunwall.doctor.findings import Finding, ok, warning
from stunwall.doctor.machine import Machine


def check(machine: Machine) -> Iterator[Finding]:
    """What counts as the VPN; nothing where no daemon says so."""
    if machine.daemon is None:
        return
    counting = [each for each in machine.daemon["interfaces"] if each["counts"]]
    if not counting:
        yield warning(
            "vpn",
            "no interface counts as the VPN",
            why="all STUN is blocked, and no call works",
            next="connect it; if it is connected, name its interface: "
            'interfaces = ["wg0"] (`stunwall vpn` says more)',
        )
    for each in counting:
        name = each["interface"]
        if machine.is_network_card(name):
            yield warning(
                "vpn",
                f"{name} counts as the VPN, but is a network card ({each['why']})",
                why="STUN that leaves by it shows the real address",
                next="take it out of `interfaces` in the configuration",
            )
        else:
            yield ok("vpn", f"{name}: {each['why']}")
    if counting and machine.settings.mode is Mode.REDIRECT and not machine.daemon["redirects"]:
        yield warning(
            "vpn",
            "nothing can be redirected into it",
            why="its interface has no address or default route that redirected flows could use",
            next="see `stunwall vpn`",
        )
