"""What a notification says, and the exception that it offers. No I/O."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stunwall.model import Event, Protocol, Reason
from stunwall.reasons import sentence
from stunwall.text import count, date_time, endpoint, printable

ALLOW, DETAILS = "allow", "details"  # the keys of the actions
_LONGEST = 60  # characters of a name, which a program may have chosen
_OTHERS = "other programs"
# Names that mean nothing but themselves where an exception takes them: a user may name a cgroup as a glob.
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|scope)")
_APP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
# Units of everything that a user runs, or has started from one login.
_BROAD = re.compile(r"(session-|user@).*")
_REQUESTS = (Protocol.STUN, Protocol.CLASSIC_STUN, Protocol.ICE, Protocol.TURN, Protocol.TURN_TLS)


@dataclass(frozen=True, slots=True)
class Note:
    """A notification. `actions`: their keys and labels. `brief`: it may go away by itself."""

    summary: str
    body: str
    actions: tuple[tuple[str, str], ...] = ()
    brief: bool = False


def program(event: Event) -> str:
    """Return what to call the program that sent a packet."""
    return _short(event.app or event.executable.rpartition("/")[2] or event.unit or "a program")


def exception(event: Event) -> dict[str, str | int]:
    """Return the narrowest exception that lets this program send, as in [[allow]], without reason and end; {}: none.

    By application or unit, so that calls work, which ask several servers. Where neither is known, or the unit is of
    everything that the user runs, for this server alone.
    """
    rule: dict[str, str | int] = {"user": event.uid}
    if _APP.fullmatch(event.app):
        return rule | {"app": event.app}
    if _UNIT.fullmatch(event.unit) and not _BROAD.fullmatch(event.unit):
        return rule | {"unit": event.unit}
    if not event.destination:  # an entry for several servers
        return {}
    port: dict[str, str | int] = {"port": event.destination_port} if event.destination_port else {}
    return rule | {"to": event.destination} | port


def blocked(event: Event, attempts: int, since: float, length: int, others: bool = False) -> Note:
    """Return the notification about a program's attempts.

    Args:
        event: the last one.
        attempts: how many there were.
        since: when the first was, in Unix seconds.
        length: the seconds for which an exception would last.
        others: they are of several programs.
    """
    name = _OTHERS if others else program(event)
    server = endpoint(event.destination, event.destination_port) or "several servers"
    request = "sent a STUN request to" if event.protocol in list(_REQUESTS) else "contacted"
    if attempts > 1:
        what = (
            f"{count(attempts, 'attempt')} since {date_time(since)[11:16]}. The last one {request} {server}."
        )
    else:
        what = f"It {request} {server}."
    where = "While no VPN is up, this" if event.reason == Reason.NO_VPN else "Outside the VPN, this"
    body = f"{what} {where} would have shown your real address."
    if others:
        return Note(f"stunwall blocked {name}", f"{body} Run `stunwall log` to see all.")
    allow = _allow(event, length)
    for _, label in allow:
        body += f" “{label}” lets {_scope(exception(event))} use STUN outside the VPN."
    return Note(f"stunwall blocked {name}", body, ((DETAILS, "Details"), *allow))


def _allow(event: Event, length: int) -> tuple[tuple[str, str], ...]:
    """Return the action that lets the program send, none if no exception would be for it."""
    return ((ALLOW, f"Allow for {duration(length)}"),) if exception(event) else ()


def duration(seconds: int) -> str:
    """Return a length of time in words, as `an hour`."""
    if seconds == 3600:
        return "an hour"
    for unit, name in ((3600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            return count(seconds // unit, name)
    return count(seconds, "second")


def _scope(rule: Mapping[str, str | int]) -> str:
    if "app" in rule:
        return f"the application {_short(str(rule['app']))}"
    if "unit" in rule:
        return f"every program in {_short(str(rule['unit']))}"
    return f"your programs, but with {endpoint(str(rule['to']), int(rule.get('port', 0)))} only,"


def details(number: int, event: Event, length: int) -> Note:
    """Return the notification with everything that the record says of an entry; `length` is as for `blocked`."""
    reason = sentence(event)
    rows = (
        ("Blocked", f"{date_time(event.time)}: {reason}"),
        ("What", f"{event.protocol} {event.method} over {event.transport}, {count(event.count, 'packet')}"),
        ("From", endpoint(event.source, event.source_port)),
        ("To", endpoint(event.destination, event.destination_port)),
        ("Interface", event.interface),
        ("Application", event.app),
        ("Unit", event.unit),
        ("Program", event.executable),
        ("Process", str(event.pid) if event.pid else ""),
        ("Not certain", event.who),
        ("Why", event.cause_text),
    )
    lines = [f"{name}: {_short(text, 200)}" for name, text in rows if text]
    lines.append(f"More: stunwall show {number}")
    return Note(f"Entry {number}: {program(event)}", "\n".join(lines), _allow(event, length))


def leak(event: Event) -> Note:
    """Return the notification that a check has seen STUN outside the VPN."""
    seen = event.reason.partition(";")[0]
    return Note(
        "STUN leaves outside the VPN",
        f"At {date_time(event.time)[11:16]} {_short(seen, 200)}. Web pages may see your real address. "
        "Run `stunwall status`.",
    )


def allowed(rule: Mapping[str, str | int], until: float) -> Note:
    """Return the notification that an exception is in effect."""
    return Note(
        f"Allowed until {date_time(until)[11:16]}",
        f"stunwall lets {_scope(rule)} use STUN outside the VPN. It can show your real address. "
        "To end this earlier, run `stunwall allow list`, then `stunwall allow remove NUMBER`.",
        brief=True,
    )


def refused(why: str) -> Note:
    """Return the notification that there is no exception."""
    return Note("stunwall still blocks it", _short(why, 300))


def _short(text: str, longest: int = _LONGEST) -> str:
    text = printable(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
