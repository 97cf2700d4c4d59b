"""The ways of a packet in the JSON and on the terminal, for `stunwall check`."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from stunwall.check.verdict import Verdict
from stunwall.check.ways import Kind, Way
from stunwall.cli import terminal
from stunwall.vpn import iproute

_COLOURS = {
    Verdict.SEALED: typer.colors.GREEN,
    Verdict.THROUGH: typer.colors.GREEN,
    Verdict.LEAK: typer.colors.RED,
    Verdict.BLOCKED: typer.colors.YELLOW,
    Verdict.INCONCLUSIVE: typer.colors.YELLOW,
    Verdict.MUTE: typer.colors.YELLOW,
}
GOOD = (Verdict.SEALED, Verdict.THROUGH, Verdict.NOT_SENT)
NEXT = {
    Verdict.LEAK: "`stunwall status` tells whether stunwall blocks; `stunwall allow list` lists the exceptions",
    Verdict.INCONCLUSIVE: "try again in a minute, or in another network, whose routers report more",
}


def styled(verdict: Verdict, text: str) -> str:
    """Return a text in the colour of a verdict."""
    return typer.style(text, fg=_COLOURS.get(verdict), bold=text.isupper())


def plain(way: Way) -> dict[str, Any]:
    """Return the fields of the JSON."""
    packet, path = way.packet, way.explanation.path
    return {
        "ip_version": packet.version,
        "kind": way.kind.value,
        "source": str(packet.source) if way.kind is Kind.SOURCE else "",
        "device": way.device,
        "mark": packet.mark,
        "protocols": [each.value for each in way.transports],
        "interfaces": list(way.interfaces),
        "into_vpn": way.into_vpn,
        "cause": way.explanation.cause.value,
        "why": way.explanation.cause.sentence,
        "rule": f"{path.rule.priority}: {iproute.rule(path.rule)}" if path.rule is not None else "",
    }


def details(names: Sequence[str], ways: Sequence[Mapping[str, Any]]) -> None:
    """Print why a way is not as it should be."""
    said: dict[str, list[str]] = {}
    for name, way in zip(names, ways, strict=True):
        for each in way["shown"]:
            if Verdict(each["verdict"]) not in GOOD:
                said.setdefault(each["why"], []).append(f"{name}, {each['protocol'].upper()}")
    for why, where in said.items():
        typer.echo(f"\n{terminal.wrapped('; '.join(where), 0)}:\n  {terminal.wrapped(why, 2)}")


def name(way: Mapping[str, Any]) -> str:
    """Return what a program does to send so."""
    bound = {
        Kind.UNBOUND: "any socket",
        Kind.SOURCE: f"bound to {way['source']}",
        Kind.DEVICE: f"bound to {way['device']}",
        Kind.MARK: f"mark {way['mark']:#x}",
    }[Kind(way["kind"])]
    protocols = "" if len(way["protocols"]) > 1 else f", {way['protocols'][0].upper()}"
    return f"IPv{way['ip_version']}, {bound}{protocols}"
