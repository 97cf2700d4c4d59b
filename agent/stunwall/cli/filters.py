"""The options by which `log`, `stats` and `export` choose entries of the record."""

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import Annotated

import typer

from stunwall.model import EXPOSED, Reason, Verdict
from stunwall.record.filter import Filter, Network
from stunwall.stun.services import SERVICES

FORMS = "30m, 2h, 7d, 2026-01-01 or 2026-01-01T12:30"
AGE = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LARGEST = 2**31  # numbers of users are below that

TimeSince = Annotated[
    str, typer.Option("--since", metavar="TIME", help=f"Only the time since then, such as {FORMS}.")
]
Since = Annotated[str, typer.Option(metavar="TIME", help=f"Only entries since then, such as {FORMS}.")]
Until = Annotated[str, typer.Option(metavar="TIME", help="Only entries until then.")]
App = Annotated[str, typer.Option(metavar="NAME", help="Only of this application, unit or program; a glob.")]
Unit = Annotated[str, typer.Option(metavar="UNIT", help="Only of this systemd unit; a glob.")]
User = Annotated[str, typer.Option(metavar="USER", help="Only of this user, by name or number.")]
To = Annotated[
    str, typer.Option(metavar="TO", help="Only to this address, network, HOST:PORT or known service.")
]
OfVerdict = Annotated[str, typer.Option("--verdict", metavar="VERDICT", help="Only with this verdict.")]
OfReason = Annotated[str, typer.Option("--reason", metavar="REASON", help="Only for this reason.")]
Interface = Annotated[str, typer.Option(metavar="NAME", help="Only by this interface.")]


def chosen(
    since: str, until: str, app: str, unit: str, user: str, to: str, verdict: str, reason: str, interface: str
) -> Filter:
    """Return the filter that the options mean. Raises typer.BadParameter."""
    if user.isdecimal() and int(user) >= _LARGEST:
        raise typer.BadParameter("expected the name or number of a user", param_hint="--user")
    networks, port = _to(to)
    return Filter(
        since=time_of(since, "--since"),
        until=time_of(until, "--until"),
        app=app,
        unit=unit,
        user=user,
        to=networks,
        port=port,
        verdict=_one_of(verdict, verdicts, "--verdict"),
        reason=_one_of(reason, lambda: sorted(Reason), "--reason"),
        interface=interface,
    )


def verdicts() -> list[str]:
    """Return every verdict that the record can have, also of events about no packet."""
    from stunwall.reasons import EXPLANATIONS  # not above: without --verdict, nothing here needs them

    noted = {each.code for each in EXPLANATIONS} - {*Reason}
    return sorted({*Verdict, EXPOSED, *noted})


def _one_of(given: str, known: Callable[[], Sequence[str]], option: str) -> str:
    if given and given not in (names := known()):
        raise typer.BadParameter(f"expected one of: {', '.join(names)}", param_hint=option)
    return given


def _to(given: str) -> tuple[tuple[Network, ...], int]:
    """Return the networks and the port that are meant, 0 for any."""
    if not given:
        return (), 0
    if service := [each for each in SERVICES if each.name.casefold() == given.casefold()]:
        return tuple(network for each in service for network in each.networks), 0
    host, port = given, 0
    if match := re.fullmatch(r"\[(.+)\]:(\d{1,5})|([^:]+):(\d{1,5})", given):
        host, port = match[1] or match[3], int(match[2] or match[4])
    try:
        if port > 65535:
            raise ValueError(port)
        return (ip_network(host, strict=False),), port
    except ValueError:
        raise typer.BadParameter(
            "expected an address, a network or HOST:PORT, such as 203.0.113.7, 2001:db8::/32 or 203.0.113.7:3478, or a "
            f"known service: {', '.join(sorted({each.name for each in SERVICES}))}",
            param_hint="--to",
        ) from None


def time_of(given: str, option: str) -> float:
    """Return the Unix time that an option means, 0 for none. Raises typer.BadParameter."""
    if not given:
        return 0.0
    if match := AGE.fullmatch(given):
        return time.time() - int(match[1]) * _UNITS[match[2]]
    try:
        return datetime.fromisoformat(given).timestamp()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"expected a time such as {FORMS}", param_hint=option) from None
