"""`stunwall rules`: the wall as the kernel has it."""

from dataclasses import asdict
from typing import Annotated

import typer

from stunwall import hints
from stunwall.cli import terminal
from stunwall.cli.options import Json
from stunwall.model import StunwallError
from stunwall.text import printable
from stunwall.wall import state


def rules(
    nft: Annotated[bool, typer.Option("--nft", help="As nft prints it.")] = False,
    as_json: Json = False,
) -> None:
    """Show the rules loaded in the kernel, and what each has counted. Needs root.

    \b
    Examples:
      sudo stunwall rules
      sudo stunwall rules --nft
    """
    wall = state.read()
    if wall is None:
        raise StunwallError(f"the wall is not loaded: start stunwalld with {hints.START}")
    if nft:
        typer.echo(state.listing(), nl=False)
        return
    if as_json:
        terminal.print_json(asdict(wall) | {"whole": wall.intact})
        return
    typer.echo("The wall is up and whole." if wall.intact else _DAMAGED)
    for name, title in _SETS.items():
        elements = wall.sets.get(name, ())
        if elements or name in _ALWAYS:
            typer.echo(f"\n{title}: {printable(', '.join(map(str, elements))) or 'none'}")
    for title, chains in _CHAINS.items():
        typer.echo(f"\n{title}\n{'PACKETS':>12} {'BYTES':>14}  RULE")
        for rule in wall.rules:
            if rule.chain in chains and rule.packets is not None:
                typer.echo(f"{rule.packets:>12,} {rule.bytes:>14,}  {printable(rule.comment)}")


_DAMAGED = f"The wall is damaged: {hints.DAMAGED}. Restore it with {hints.RESTART}."
_ALWAYS = ("vpn", "guard_ports")
_SETS = {
    "vpn": "Interfaces that are the VPN",
    "guard_ports": "Ports where TLS counts as TURN",
    "redirectable": "IP versions that are redirected",
    "vpn_transport4": "Where the VPN's own packets go, IPv4",
    "vpn_transport6": "Where the VPN's own packets go, IPv6",
    "lan4": "Private networks on the link, IPv4",
    "lan6": "Private networks on the link, IPv6",
    "paused": "Paused",
}
_CHAINS = {
    "Recognised as STUN on its way out": ("classify_udp", "classify_classic_stun", "classify_tcp"),
    "Let pass outside the VPN (`stunwall allow list` says what each number is)": (
        "may_leave",
        "allow_rules",
        "allow_programs",
    ),
    "Redirected": ("output_to_stunwalld", "stop_redirected"),
    "Everything else": ("drop_icmp_quotes", "decide", "hand_over", "to_stunwalld"),
}
