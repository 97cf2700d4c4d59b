"""What a check of `stunwall doctor` finds: values only, no I/O."""

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How bad it is, the worst first."""

    PROBLEM = "problem"
    WARNING = "warning"
    UNKNOWN = "unknown"
    NOTE = "note"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: what it is, why it matters, what to do next."""

    check: str
    result: Result
    what: str
    why: str = ""
    next: str = ""


def problem(check: str, what: str, why: str = "", next: str = "") -> Finding:
    """STUN can leak, or will at the next boot, or nothing is recorded."""
    return Finding(check, Result.PROBLEM, what, why, next)


def warning(check: str, what: str, why: str = "", next: str = "") -> Finding:
    """Something that the user should change, although stunwall works."""
    return Finding(check, Result.WARNING, what, why, next)


def unknown(check: str, what: str, why: str = "", next: str = "") -> Finding:
    """Something that could not be checked."""
    return Finding(check, Result.UNKNOWN, what, why, next)


def note(check: str, what: str, why: str = "", next: str = "") -> Finding:
    """Something that the user may want to know."""
    return Finding(check, Result.NOTE, what, why, next)


def ok(check: str, what: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Result.OK, what)
