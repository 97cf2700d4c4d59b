"""doctor/second_lock.py: whether the second lock is on every way out."""

from typing import Any

import pytest

from unit.fake_machine import OK, WARNING, FakeMachine, status

UP: dict[str, Any] = {"state": "up", "interfaces": ["eth0", "wlan0"], "dropped": 3, "why": ""}


def test_it_is_up(fake: FakeMachine) -> None:
    fake.daemon = status(second_lock=UP)
    assert fake.one("second-lock", OK).what == "up on eth0, wlan0"
    fake.daemon = status(second_lock=UP | {"interfaces": []})
    assert fake.one("second-lock", OK).what == "up on no interface: there is no way out"


@pytest.mark.parametrize(
    ("said", "what", "next_"),
    [
        (
            {"state": "missing", "interfaces": [], "dropped": 0, "why": "nft owns a table"},
            "missing: nft owns a table",
            "restart",
        ),
        (
            {"state": "unsupported", "interfaces": [], "dropped": 0, "why": "the kernel lacks it"},
            "unsupported: the kernel lacks it",
            "use a kernel that has it",
        ),
        (UP | {"why": "nft has no words"}, "not on every way out: nft has no words", ""),
        (None, "missing: stunwalld is of an older version", "restart"),
    ],
    ids=["missing", "unsupported", "a name", "an older daemon"],
)
def test_what_is_missing_is_a_warning_with_its_cause(
    fake: FakeMachine, said: Any, what: str, next_: str
) -> None:
    fake.daemon = status(second_lock=said)
    warning = fake.one("second-lock", WARNING)
    assert warning.what == what
    assert next_ in warning.next
    assert "bridged machines" in warning.why


def test_without_a_daemon_it_is_gone(fake: FakeMachine) -> None:
    fake.daemon = None
    warning = fake.one("second-lock", WARNING)
    assert warning.what == "gone with stunwalld"
    assert "systemctl start" in warning.next
