"""How values read in text: what the terminal, the log and doctor print. No I/O."""

from time import localtime, strftime


def printable(text: str) -> str:
    """Return the text with a question mark for each character that a terminal would obey (control characters)."""
    return "".join(c if c.isprintable() else "?" for c in text)


def count(number: int, noun: str) -> str:
    """Return `1 packet`, `3 packets`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def endpoint(address: str, port: int) -> str:
    """Return address and port as they are written in URLs (RFC 3986 §3.2.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def date_time(seconds: float) -> str:
    """Return Unix seconds as local date and time with its offset."""
    return strftime("%Y-%m-%d %H:%M:%S %z", localtime(seconds))


def missing_version(version: int) -> str:
    """Return what to say where the system lacks an IP version (4 or 6)."""
    return f"IPv{version} is not available on this system: stunwall guards IPv{10 - version} alone"
