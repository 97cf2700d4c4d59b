"""The check `vpn`: which interfaces are the VPN or inside, and whether flows can be redirected into one."""

from collections.abc import Iterator
from typing import Any

from stunwall.config import Mode
from stunwall.doctor import relay
from stunwall.doctor.findings import Finding, note, ok, warning
from stunwall.doctor.machine import Machine
from stunwall.model import VRF


def check(machine: Machine) -> Iterator[Finding]:
    """What counts as the VPN, according to the daemon; nothing if it is not running."""
    if machine.daemon is None:
        return
    counting = [each for each in machine.daemon["interfaces"] if each["counts"]]
    if not counting:
        yield warning(
            "vpn",
            "no interface counts as the VPN",
            why="all STUN is blocked, so calls may not work",
            next="connect your VPN; if it is connected, name its interface in the configuration, for example "
            'interfaces = ["wg0"] (`stunwall vpn` lists all of them)',
        )
    for each in counting:
        name = each["interface"]
        if machine.is_network_card(name):
            yield warning(
                "vpn",
                f"{name} counts as the VPN, but is a network card ({each['why']})",
                why="STUN that leaves by it reveals your real address",
                next="remove it from `interfaces` in the configuration",
            )
        else:
            yield ok("vpn", f"{name}: {each['why']}")
    yield from _inside(machine.daemon["interfaces"])
    yield from _relays(machine)
    if counting and machine.settings.mode is Mode.REDIRECT and not machine.daemon["redirects"]:
        yield warning(
            "vpn",
            "flows cannot be redirected into the VPN",
            why="its interface has no address or default route that they could use",
            next="see `stunwall vpn`",
        )


def _relays(machine: Machine) -> Iterator[Finding]:
    for each in relay.find(machine.daemon or {}, machine.settings.state_dir):
        why = (
            "without them it cannot connect"
            if each.blocked
            else "if it needs STUN or TURN, it cannot connect"
        )
        yield (warning if each.blocked else note)("vpn", each.sentence, why=why, next=each.cure)


def _inside(interfaces: list[dict[str, Any]]) -> Iterator[Finding]:
    inside = [each for each in interfaces if each.get("inside") and each.get("kind") != VRF]
    for each in inside:
        if each["doubt"]:
            yield warning(
                "vpn",
                f"{each['interface']} is {each['why']}",
                why="STUN that leaves by it reveals your real address, unless only machines behind this one are there",
                next="remove it from `inside` in the configuration, if it leads to the Internet",
            )
    if sure := [each["interface"] for each in inside if not each["doubt"]]:
        yield ok("vpn", f"STUN passes to machines behind this one, by {', '.join(sure)}")
