"""Formats values for people, on the terminal and in the journal. No I/O."""

from time import localtime, strftime

from stunwall.model import Event


def printable(text: str) -> str:
    """Return the text with control characters, which a terminal would obey, replaced by question marks."""
    return "".join(c if c.isprintable() else "?" for c in text)


def count(number: int, noun: str, plural: str = "") -> str:
    """Return `1 packet`, `3 packets`; `plural` is for nouns that take more than an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def endpoint(address: str, port: int) -> str:
    """Return address and port as in a URL (RFC 3986 §3.2.2); without the port if it is not known, 0."""
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def sender(event: Event) -> str:
    """Return whose an event is in one name: of the application, container, service or program, "" if not known."""
    service = event.unit if event.unit.endswith(".service") else ""
    return event.app or event.container or service or event.executable.rpartition("/")[2] or event.unit


def machine(event: Event) -> str:
    """Return which machine behind this one an event is of, as `laptop@lan0` or by its address, "" if of none."""
    if not event.incoming:
        return ""
    return f"{event.client}@{event.incoming}" if event.client else event.source


def date_time(seconds: float) -> str:
    """Return Unix seconds as local date and time with UTC offset."""
    return strftime("%Y-%m-%d %H:%M:%S %z", localtime(seconds))


def ago(seconds: float) -> str:
    """Return how long ago something was, in its largest unit."""
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            return f"{count(int(seconds // unit), name)} ago"
    return f"{count(max(0, int(seconds)), 'second')} ago"


def missing_version(version: int) -> str:
    """Return what to say where the system lacks an IP version (4 or 6)."""
    return f"IPv{version} is not available on this system: stunwall guards only IPv{10 - version}"
