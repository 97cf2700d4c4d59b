"""Fixtures of the tests of browsers."""

from pathlib import Path

import pytest

from unit.browsers.fake import Fake


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """A machine without browsers and users."""
    root = tmp_path / "root"
    root.mkdir()
    return Fake(root)
