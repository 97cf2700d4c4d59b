"""What checks have shown, as `stunwall check` hands it over: root's for everybody, another user's for that user alone.

No user can lie to another, then. What is kept ends with the daemon: a new one has loaded the wall anew, and nobody has
checked that one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stunwall.config import is_interface
from stunwall.control.protocol import Status
from stunwall.model import StunwallError
from stunwall.text import count

_ROOT = 0
_USERS_MAX = 64  # whose results are kept
_TESTS_MAX = 100_000
_INTERFACES_MAX = 16
_SAFE = ("protected", "sealed", "degraded")  # the states in which no STUN should leave outside the VPN


class ProofError(StunwallError):
    """What was handed over is no result."""


class Shown(StrEnum):
    """What a check has shown of all ways out."""

    SEALED = "sealed"
    LEAK = "leak"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Proof:
    """A check's result.

    `sealed` of the `tests` outside the VPN were sealed; `interfaces`: those by which STUN left. `basis`: what it is
    about, as the daemon named it when the check began. `time` is in Unix seconds, `awake` by CLOCK_BOOTTIME.
    """

    shown: Shown
    sealed: int
    tests: int
    interfaces: tuple[str, ...]
    basis: int
    time: float = field(default_factory=time.time)
    awake: float = field(default_factory=lambda: time.clock_gettime(time.CLOCK_BOOTTIME))

    @property
    def age(self) -> float:
        """The seconds since then, those of sleep too; a clock that is set does not change them."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.awake

    @property
    def sentence(self) -> str:
        """What a leak has shown, without a full stop."""
        by = f" by {', '.join(self.interfaces)}" if self.interfaces else ""
        return f"a check has seen STUN leave{by}, outside the VPN ({self.sealed} of {count(self.tests, 'test')} sealed)"


def parse(request: dict[str, Any]) -> Proof:
    """Return the result that a request hands over. Raises ProofError."""
    verdict, interfaces = request.get("verdict"), request.get("interfaces")
    sealed, tests, basis = (_number(request, key) for key in ("sealed", "tests", "basis"))
    if verdict not in list(Shown):
        raise ProofError(f'"verdict" is one of: {", ".join(Shown)}')
    if not 0 <= sealed <= tests <= _TESTS_MAX:
        raise ProofError(f'"sealed" is at most "tests", and that at most {_TESTS_MAX}')
    if not isinstance(interfaces, list) or len(interfaces) > _INTERFACES_MAX:
        raise ProofError(f'"interfaces" is a list of at most {_INTERFACES_MAX} names')
    if not all(isinstance(each, str) and is_interface(each) for each in interfaces):
        raise ProofError('"interfaces" are names, as `ip link` shows them')
    return Proof(Shown(verdict), sealed, tests, tuple(interfaces), basis)


def _number(request: dict[str, Any], key: str) -> int:
    found = request.get(key)
    if not isinstance(found, int) or isinstance(found, bool):
        raise ProofError(f'"{key}" is a whole number')
    return found


@dataclass(slots=True)
class _Kept:
    """A user's last conclusive result, and a later one that was not."""

    proof: Proof | None = None
    inconclusive: Proof | None = None


class Proofs:
    """The last results by user.

    `basis()` returns a number that is another one whenever something has changed that a result depends on.
    """

    def __init__(self, basis: Callable[[], int]) -> None:
        self.basis = basis
        self._kept: dict[int, _Kept] = {}  # the user who was the last to check is the last

    def add(self, uid: int, proof: Proof) -> None:
        """Keep a user's result; `uid` is 0 for root and the daemon's own user."""
        kept = self._kept.pop(uid, None) or _Kept()
        if proof.shown is Shown.INCONCLUSIVE:
            kept.inconclusive = proof
        else:
            kept.proof, kept.inconclusive = proof, None
        self._kept[uid] = kept
        others = [each for each in self._kept if each != _ROOT]
        if len(others) > _USERS_MAX:
            del self._kept[others[0]]

    @property
    def leak(self) -> Proof | None:
        """The leak that root's last conclusive check has shown, None if it was sealed."""
        found = self._of(_ROOT).proof
        return found if found is not None and found.shown is Shown.LEAK else None

    @property
    def holds(self) -> bool:
        """Whether root's last check was sealed, and nothing has changed since."""
        kept = self._of(_ROOT)
        proof = kept.proof
        return (
            proof is not None
            and kept.inconclusive is None
            and proof.shown is Shown.SEALED
            and proof.basis == self.basis()
        )

    def told(self, status: Status, uid: int) -> Status:
        """Return the status with what a user may know of checks; `uid` as for `add`."""
        root, own = self._of(_ROOT), self._of(uid)
        proof, for_all = root.proof, True
        # Root tries more ways: only root's own check says that a leak which root has seen is gone.
        if own.proof is not None and self.leak is None and (proof is None or own.proof.awake > proof.awake):
            proof, for_all = own.proof, uid == _ROOT
        tries = [each.inconclusive for each in (root, own) if each.inconclusive is not None]
        last = max(tries, key=lambda each: each.awake, default=None)
        if last is not None and proof is not None and last.awake < proof.awake:
            last = None
        said: Status = {
            "verdict": proof.shown.value if proof is not None else "",
            "time": proof.time if proof is not None else None,
            "seconds": proof.age if proof is not None else None,
            "sealed": proof.sealed if proof is not None else 0,
            "tests": proof.tests if proof is not None else 0,
            "interfaces": list(proof.interfaces) if proof is not None else [],
            "changed": proof is not None and proof.basis != self.basis(),
            "for_all": proof is not None and for_all,
            "inconclusive": last.age if last is not None else None,
        }
        leaking = said["verdict"] == Shown.LEAK and status.get("state") in _SAFE
        return status | {"proof": said} | ({"state": "leaking"} if leaking else {})

    def _of(self, uid: int) -> _Kept:
        return self._kept.get(uid) or _Kept()


@dataclass(frozen=True, slots=True)
class CheckResults:
    """What the daemon has to do with results that are handed over.

    `open()`: whether STUN may leave now, since the user wants it to. `sealed()`: called when root's check was sealed.
    """

    proofs: Proofs
    open: Callable[[], bool]
    sealed: Callable[[], None]

    @property
    def refusal(self) -> Status | None:
        """The reply that no result is kept now, None if one is."""
        if self.open():
            return {
                "error": "STUN may leave now, during a pause or while no VPN is up: that is no result to keep"
            }
        return None

    def keep(self, proof: Proof, uid: int) -> str:
        """Keep a user's result, as Proofs.add; return the leak that root has proved, "" if it is none."""
        self.proofs.add(uid, proof)
        if uid == _ROOT and proof.shown is Shown.LEAK:
            return proof.sentence
        if uid == _ROOT and self.proofs.holds:
            self.sealed()
        return ""
