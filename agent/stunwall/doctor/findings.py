"""The findings of `stunwall doctor`. Values only, no I/O."""

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How serious a finding is; the most serious first."""

    PROBLEM = "problem"
    WARNING = "warning"
    UNKNOWN = "unknown"
    NOTE = "note"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, why it matters, and what to do next."""

    check: str
    result: Result
    what: str
    why: str = ""
    next: str = ""


def problem(check: str, what: str, why: str = "", next: str = "") -> Finding:
    """STUN can leak, or will after a reboot, or nothing is recorded."""
    return Finding(check, Result.PROBLEM, what, why, next)


def warning(check: str, what: str, why: str = "", next: str = "") -> Finding:
    """stunwall works, but something should be changed."""
    return Finding(check, Result.WARNING, what, why, next)


def unknown(check: str, what: str, why: str = "", next: str = "") -> Finding:
    """Something could not be checked."""
    return Finding(check, Result.UNKNOWN, what, why, next)


def note(check: str, what: str, why: str = "", next: str = "") -> Finding:
    """Nothing is wrong, but the user should know about it."""
    return Finding(check, Result.NOTE, what, why, next)


def ok(check: str, what: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Result.OK, what)
