"""One lab for all tests in here."""

from pathlib import Path

import pytest

from browser.etc import Etc
from lab.conftest import cgroups, lab, no_connections

__all__ = ["cgroups", "lab", "no_connections"]


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    """A copy of /etc, with stunwall's configuration."""
    return Etc(tmp_path).write("stunwall/stunwall.toml", "")
