"""daemon/check_due.py: when a check is asked for, by a clock that stands still."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from stunwall.daemon import check_due
from stunwall.daemon.check_due import FILE, PERIOD, SETTLED, CheckDue

VPN, NONE = frozenset({"wg0"}), frozenset[str]()


class Clocked:
    """A CheckDue, and the time that it sees."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.said: list[str] = []
        monkeypatch.setattr(check_due, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.due = CheckDue(folder, self.said.append)
        self.file = folder / FILE

    def asks(self, vpn: frozenset[str], after: float = 0.0, wanted: bool = True) -> bool:
        """Whether a check is asked for, when so much time has gone by and the VPN is this one; it then begins."""
        self.now += after
        self.due.follow(vpn, wanted)
        self.due.make()
        asked = self.file.exists()
        self.file.unlink(missing_ok=True)
        return asked


@pytest.fixture
def clocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clocked:
    return Clocked(tmp_path, monkeypatch)


def test_a_check_is_due_once_when_the_vpn_has_settled(clocked: Clocked) -> None:
    assert not clocked.asks(NONE)
    assert not clocked.asks(VPN)
    assert clocked.due.left == SETTLED
    assert clocked.asks(VPN, SETTLED)
    assert clocked.due.left is None
    assert not clocked.asks(VPN, 10 * PERIOD)
    assert not clocked.asks(VPN | {"wg1"})
    assert clocked.asks(VPN | {"wg1"}, SETTLED), "another one has come up"


def test_one_that_flaps_is_checked_at_most_once_in_a_period(clocked: Clocked) -> None:
    asked = [clocked.asks(VPN if second % 8 else NONE, 1) for second in range(600)]
    assert 600 / PERIOD - 1 <= sum(asked) <= 600 / PERIOD + 1
    assert not clocked.asks(NONE, PERIOD), "it is down again"


def test_what_comes_up_while_no_check_is_wanted_is_checked_when_one_is(clocked: Clocked) -> None:
    assert not clocked.asks(VPN, wanted=False)
    assert not clocked.asks(VPN, PERIOD, wanted=False)
    assert not clocked.asks(VPN)
    assert clocked.asks(VPN, SETTLED)


def test_a_check_that_has_just_been_sealed_is_not_repeated(clocked: Clocked) -> None:
    clocked.asks(VPN)
    clocked.file.touch()
    clocked.due.done()
    assert not clocked.file.exists()
    assert not clocked.asks(VPN, PERIOD)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked(tmp_path / "gone", monkeypatch)
    clocked.asks(VPN)
    assert not clocked.asks(VPN, SETTLED)
    assert "No such file" in clocked.said[-1]
