"""`stunwall rules`: the rules loaded in the kernel, with their counters."""

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import asdict, replace
from typing import Annotated

import typer

from stunwall import hints
from stunwall.cli import terminal
from stunwall.cli.options import Json, Redact
from stunwall.cli.redacted import redaction
from stunwall.config import Config
from stunwall.configfile import reader
from stunwall.control.client import ask
from stunwall.control.protocol import ControlError
from stunwall.model import StunwallError
from stunwall.text import printable
from stunwall.wall import egress, inspection
from stunwall.wall.contents import TABLE
from stunwall.wall.inspection import Inspection
from stunwall.wall.nft import Nft
from stunwall.wall.state import Rule


def rules(
    context: typer.Context,
    as_nft: Annotated[bool, typer.Option("--nft", help="Print them as nft does.")] = False,
    as_json: Json = False,
    redact: Redact = False,
) -> None:
    """Show the rules loaded in the kernel, with their counters. Needs root.

    \b
    Examples:
      sudo stunwall rules
      sudo stunwall rules --nft
    """
    found = _inspect(reader.load(context.obj))
    if found is None:
        raise StunwallError(f"the wall is not loaded: start stunwalld with {hints.START}")
    hidden = redaction(redact)
    shown: Callable[[str], str] = hidden.text if hidden else str
    if as_nft:
        with closing(Nft()) as nft:
            for table in (TABLE, egress.TABLE):
                typer.echo(shown(nft.list_table(table) or ""), nl=False)
    elif as_json:
        second = [asdict(rule) for rule in found.second_lock.rules] if found.second_lock else None
        values = {"whole": found.intact, "differences": found.differences, "second_lock": second}
        values = asdict(found.wall) | values
        terminal.print_json(hidden.value(values) if hidden else values)
    else:
        _print_all(found, shown)


def _print_all(found: Inspection, shown: Callable[[str], str]) -> None:
    """Print what was found in words; `shown` is applied to what may tell who and where the user is."""
    wall = found.wall
    typer.echo("The wall is up and intact." if found.intact else shown(_sentence(found.differences)))
    for name, title in _SETS.items():
        elements = wall.sets.get(name, ())
        if elements or name in _ALWAYS:
            typer.echo(f"\n{title}: {printable(shown(', '.join(map(str, elements)))) or 'none'}")
    for title, chains in _CHAINS.items():
        _print(title, [rule for rule in wall.rules if rule.chain in chains])
    if found.second_lock is None:
        typer.echo("\nThe second lock is not loaded.")
    else:
        _print("The second lock", found.second_lock.rules)


def _print(title: str, rules: Iterable[Rule]) -> None:
    typer.echo(f"\n{title}\n{'PACKETS':>12} {'BYTES':>14}  RULE")
    for rule in rules:
        if rule.packets is not None:
            typer.echo(f"{rule.packets:>12,} {rule.bytes:>14,}  {printable(rule.comment)}")


def _inspect(settings: Config) -> Inspection | None:
    """Look at the wall; the daemon, if one runs, knows best what belongs there."""
    found = inspection.inspect(settings)
    with suppress(ControlError):
        daemon = ask(settings.run_dir, {"command": "status"}) or {}
        if found is not None and daemon.get("wall") in ("up", "damaged"):
            return replace(found, differences=tuple(daemon["differences"]), complete=True)
    return found


def _sentence(differences: tuple[str, ...]) -> str:
    return f"The wall is damaged: {hints.changed(differences)}. Restore it with {hints.RESTART}."


_ALWAYS = ("vpn", "guard_ports")
_SETS = {
    "vpn": "VPN interfaces",
    "inside": "Interfaces that lead to machines behind this one",
    "guard_ports": "Ports where TLS counts as TURN",
    "redirectable": "IP versions that can be redirected",
    "vpn_transport4": "Servers of the VPN itself, IPv4",
    "vpn_transport6": "Servers of the VPN itself, IPv6",
    "lan4": "Directly connected private networks, IPv4",
    "lan6": "Directly connected private networks, IPv6",
    "paused": "Paused",
}
_CHAINS = {
    "Recognised as outgoing STUN": (
        "classify_udp",
        "classify_udp_headers",
        "classify_dtls",
        "classify_classic_stun",
        "classify_telegram",
        "classify_unmeasured",
        "classify_tcp",
        "classify_tcp_headers",
        "classify_tcp_cookie",
        "classify_framed_tcp",
        "classify_guarded_tcp",
        "classify_ipv6_fragment",
        "classify_hidden",
    ),
    "Allowed outside the VPN (numbers as in `stunwall allow list`)": (
        "may_leave",
        "vpn_transport",
        "allow_rules",
        "allow_programs",
    ),
    "Redirected": ("output_to_stunwalld", "redirected_related", "remember_redirected"),
    "Responses to requests that did not pass": ("response", "response_to_stunwalld"),
    "Everything else": ("own_marks", "drop_icmp_quotes", "decide", "hand_over", "to_stunwalld"),
}
