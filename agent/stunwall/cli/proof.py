"""A check's result: handed to stunwalld, which keeps it, and told in words by `stunwall status`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stunwall.check.verdict import Verdict
from stunwall.control import client
from stunwall.control.protocol import ControlError, Status
from stunwall.text import ago, count, printable

_INTERFACES_MAX = 16  # that the daemon takes


@dataclass(frozen=True, slots=True)
class Handover:
    """Gives one result to the daemon. `basis`: what the daemon says that it is about, None if it will not keep it."""

    folder: Path
    basis: int | None
    why: str = ""

    @classmethod
    def begin(cls, folder: Path) -> "Handover":
        """Ask the daemon what the check is about that begins now; `folder` is where its socket is."""
        try:
            return cls(folder, int(client.request(folder, {"command": "check-begin"})["basis"]))
        except (ControlError, KeyError) as error:
            return cls(folder, None, _why(error))

    def end(self, said: dict[str, Any]) -> dict[str, Any]:
        """Hand over what was found; return for whom it is kept ("everyone", "you" or ""), and why it is not."""
        if self.basis is None:
            return {"kept_for": "", "not_kept": self.why}
        sealed, tests = counted(said)
        given: Status = {
            "command": "check-done",
            "basis": self.basis,
            "verdict": said["verdict"],
            "sealed": sealed,
            "tests": tests,
            "interfaces": _leaky(said)[:_INTERFACES_MAX],
        }
        try:
            reply = client.request(self.folder, given)
        except ControlError as error:
            return {"kept_for": "", "not_kept": _why(error)}
        return {"kept_for": "everyone" if reply.get("for_all") else "you", "not_kept": ""}


def _why(error: Exception) -> str:
    # A daemon of a version before 0.3 knows no such command.
    return (
        str(error).partition(". Known commands")[0]
        if isinstance(error, ControlError)
        else "stunwalld is older"
    )


def counted(said: dict[str, Any]) -> tuple[int, int]:
    """Return how many tests outside the VPN were sealed, and how many there were."""
    shown = [each["verdict"] for way in said["ways"] if not way["into_vpn"] for each in way["shown"]]
    return shown.count(Verdict.SEALED), len(shown) - shown.count(Verdict.NOT_SENT)


def _leaky(said: dict[str, Any]) -> list[str]:
    names = (
        name
        for way in said["ways"]
        if any(each["verdict"] == Verdict.LEAK for each in way["shown"])
        for name in way["interfaces"]
    )
    return list(dict.fromkeys(names))


def kept(said: dict[str, Any]) -> str:
    """Return the sentence on whether a result is kept."""
    if said["not_kept"]:
        return f"Not kept for `stunwall status`: {printable(said['not_kept'])}."
    if said["kept_for"] == "everyone":
        return "Kept: `stunwall status` shows this result to every user."
    return "Kept: `stunwall status` shows this result to you; a check by root counts for every user."


def sentence(proof: Status) -> str:
    """Return what `status` says of the daemon's `proof`."""
    tried = proof["inconclusive"]
    last = f"a check {ago(float(tried))} was inconclusive" if tried is not None else ""
    if not proof["verdict"]:
        return f"no: {last}" if last else "not since stunwalld started: run `sudo stunwall check`"
    when, told = (
        ago(float(proof["seconds"])),
        f"{proof['sealed']} of {count(int(proof['tests']), 'test')} sealed",
    )
    if proof["verdict"] == Verdict.LEAK:
        by = f" by {printable(', '.join(proof['interfaces']))}" if proof["interfaces"] else ""
        said = f"no: {when} a check saw STUN leave{by}, outside the VPN ({told})"
    else:
        said = f"{when}, {told if proof['tests'] else 'no way leads around the VPN'}"
    said += "" if proof["for_all"] else ", by your own check"
    if last:
        said += f"; {last}"
    if proof["changed"]:
        said += "; something has changed since: run `sudo stunwall check`"
    return said
