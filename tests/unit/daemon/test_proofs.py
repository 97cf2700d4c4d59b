"""daemon/proofs.py, and what commands.py makes of results that strangers hand over."""

from typing import Any

import pytest

from stunwall.daemon import proofs
from stunwall.daemon.proofs import Proof, ProofError, Shown
from stunwall.model import LEAK
from unit.daemon.commands import GUEST, MEMBER, ROOT, Served

RESULT: dict[str, Any] = {"verdict": "sealed", "sealed": 14, "tests": 14, "basis": 1, "interfaces": []}
LEAKS = RESULT | {"verdict": "leak", "sealed": 12, "interfaces": ["eth0"]}
UNSURE = RESULT | {"verdict": "inconclusive", "sealed": 3}


def shown(served: Served, peer: Any = ROOT) -> tuple[str, str, bool, bool]:
    """The state, verdict, whether something has changed and whether it is for all, as a user sees them."""
    said = served.ask("status", peer)
    proof = said["proof"]
    return said["state"], proof["verdict"], proof["changed"], proof["for_all"]


def test_roots_result_is_for_everybody_and_another_users_for_that_user(served: Served) -> None:
    nothing = ("protected", "", False, False)
    assert shown(served) == nothing
    assert served.ask("check-done", MEMBER, **LEAKS) == {"for_all": False}
    assert shown(served, MEMBER) == ("leaking", "leak", False, False)
    assert shown(served) == nothing
    assert served.recorded == []
    assert served.ask("check-done", **RESULT) == {"for_all": True}
    assert shown(served) == shown(served, MEMBER) == ("protected", "sealed", False, True)
    assert served.sealed == 1


def test_a_leak_that_root_has_seen_stays_until_roots_check_is_sealed(served: Served) -> None:
    served.ask("check-done", **LEAKS)
    ((verdict, reason),) = served.recorded
    assert (verdict, served.authors) == (LEAK, [(0, "root")])
    assert reason.startswith(
        "a check has seen STUN leave by eth0, outside the VPN (12 of 14 tests sealed); by user 0"
    )
    for peer in (ROOT, MEMBER):
        assert shown(served, peer) == ("leaking", "leak", False, True)
    served.ask("check-done", MEMBER, **RESULT)
    served.ask("check-done", **UNSURE)
    served.basis = 2
    for peer in (ROOT, MEMBER):
        assert shown(served, peer) == ("leaking", "leak", True, True)
    assert served.ask("status")["proof"]["inconclusive"] is not None
    served.ask("check-done", **RESULT | {"basis": 2})
    assert shown(served) == ("protected", "sealed", False, True)
    assert served.ask("status")["proof"]["inconclusive"] is None


def test_what_has_changed_during_the_check_or_since_is_told(served: Served) -> None:
    begun = served.ask("check-begin")["basis"]
    served.basis = 2
    served.ask("check-done", **RESULT | {"basis": begun})
    assert shown(served) == ("protected", "sealed", True, True)
    assert served.sealed == 0


def test_while_stun_may_leave_nothing_is_kept(served: Served) -> None:
    served.open = True
    for command in ("check-begin", "check-done"):
        assert "no result to keep" in served.ask(command, **LEAKS)["error"]
    served.open = False
    assert shown(served) == ("protected", "", False, False)


def test_who_may_not_ask_for_the_status_hands_nothing_over(served: Served) -> None:
    for command in ("check-begin", "check-done"):
        assert "status_for_all = false" in served.ask(command, GUEST, **RESULT)["error"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("verdict", ["", "through-vpn", None, 1, [], {}]),
        ("sealed", [-1, 15, 1.0, True, None, "14", 10**400]),
        ("tests", [13, -1, 10**6, True, None, []]),
        ("basis", ["1", None, 1.5, True]),
        ("interfaces", [None, "eth0", [1], [None], ["a" * 16], ["eth\n0"], ["\ud800"], ["x"] * 17, {"a": 1}]),
    ],
)
def test_what_is_no_result_is_refused(served: Served, key: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ProofError):
            proofs.parse(RESULT | {key: value})
        assert "error" in served.ask("check-done", **RESULT | {key: value})
    with pytest.raises(ProofError):
        proofs.parse({name: each for name, each in RESULT.items() if name != key})
    assert shown(served) == ("protected", "", False, False)


def test_many_users_leave_room_for_root() -> None:
    kept = proofs.Proofs(lambda: 1)
    for uid in range(1000):
        kept.add(uid, Proof(Shown.SEALED, uid, uid, (), 1))
    assert len(kept._kept) == proofs._USERS_MAX + 1
    assert kept.told({}, 5)["proof"]["for_all"]
    assert kept.told({}, 999)["proof"]["sealed"] == 999


def test_the_setting_alone_is_written_and_put_into_force(served: Served) -> None:
    served.file.write_text('on_block = "drop"\n')  # not yet reloaded
    assert served.ask("check-every-vpn-up", on=True) == {"check_every_vpn_up": True}
    (config,) = served.configured
    assert (config.check_every_vpn_up, config.on_block) == (True, "answer")
    assert served.recorded[0][1].startswith("check_every_vpn_up; by user 0")
    assert served.ask("check-every-vpn-up", on=False) == {"check_every_vpn_up": False}
    before = served.files()
    (served.drop_in.parent / "99-mine.toml").write_text("check_every_vpn_up = false\n")
    assert "says otherwise" in served.ask("check-every-vpn-up", on=True)["error"]
    assert served.files().items() >= before.items()
