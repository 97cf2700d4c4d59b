"""`stunwall check --server`: which address a STUN server sees, in each way that a program can send."""

import os
from collections.abc import Mapping
from typing import Any

import typer

from stunwall.check import run, server
from stunwall.check.server import Answer
from stunwall.check.verdict import Verdict, worst
from stunwall.check.ways import Way
from stunwall.cli import check_ways, terminal
from stunwall.config import Config
from stunwall.text import endpoint, printable
from stunwall.vpn.inside import Named


def checked(config: Config, uri: str) -> dict[str, Any]:
    """Ask the server, and return what that shows. Raises StunwallError."""
    try:
        host, port = server.parse_uri(uri)
    except server.ServerError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from error
    named = Named(config.interfaces, config.inside)
    addresses = server.resolve(host, port)
    told = ", ".join(map(str, addresses.values()))
    typer.echo(
        f"Asking {endpoint(host, port)}{f' ({told})' if told != host else ''} over UDP. It sees the VPN's address, and "
        "your real one if STUN leaks.",
        err=True,
    )
    found = run.ways_to(addresses, port, named)
    tried = [way for way in found if _is_tried(way)]
    vpn = frozenset(name for name, is_vpn in run.owners(named).values() if is_vpn)
    answers = {each.way: each for each in server.judge(server.ask(tried, port), vpn)}
    return {
        "verdict": worst(each.verdict for each in answers.values()).value,
        "server": {"host": host, "port": port, "addresses": [str(each) for each in addresses.values()]},
        "ways": [check_ways.plain(way) | _shown(way, answers.get(way)) for way in found],
    }


def _is_tried(way: Way) -> bool:
    return way.leaves and (not way.needs_root or os.geteuid() == 0)


def _shown(way: Way, answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        why = run.ONLY_ROOT if way.leaves else way.explanation.cause.sentence
        return {"seen": "", "shown": [{"protocol": "udp", "verdict": Verdict.NOT_SENT.value, "why": why}]}
    return {
        "seen": str(answer.address or ""),
        "shown": [{"protocol": "udp", "verdict": answer.verdict.value, "why": answer.why}],
    }


def show(said: Mapping[str, Any]) -> None:
    """Print what a server has seen."""
    verdict = Verdict(said["verdict"])
    text = {
        Verdict.SEALED: "the server has not seen your real address",
        Verdict.LEAK: "the server has seen an address outside the VPN",
        Verdict.INCONCLUSIVE: "not every way could be shown to be sealed",
    }[verdict]
    typer.echo(f"{check_ways.styled(verdict, verdict.value.upper())}: {text}\n")
    table = [
        (
            printable(check_ways.name(way)),
            printable(", ".join(way["interfaces"])) or "-",
            printable(way["seen"]) or "-",
            Verdict(way["shown"][0]["verdict"]),
        )
        for way in said["ways"]
    ]
    heads = ("WAY", "LEAVES BY", "SERVER SAW")
    wide = [max(map(len, column)) + 2 for column in zip(heads, *(row[:3] for row in table), strict=True)]
    typer.echo("".join(head.ljust(width) for head, width in zip(heads, wide, strict=True)) + "RESULT")
    for *cells, shown in table:
        word = "-" if shown is Verdict.NOT_SENT else shown.value
        text = "".join(cell.ljust(width) for cell, width in zip(cells, wide, strict=True))
        typer.echo(text + check_ways.styled(shown, word))
    check_ways.details([row[0] for row in table], said["ways"])
    if advice := check_ways.NEXT.get(verdict):
        typer.echo(f"\nNext: {terminal.wrapped(advice, 6)}")
