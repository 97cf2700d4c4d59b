"""Commands that a test can ask."""

from pathlib import Path

import pytest

from stunwall.wall import table
from unit.daemon.commands import Served


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seconds that the kernel was told."""
    told: list[int] = []
    monkeypatch.setattr(table, "pause", lambda nft, seconds, now: told.append(seconds))
    return told
