"""systemd/python/: the versions that are installed, and their hashes."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from unit.made_root import CHECKOUT

FOLDER = CHECKOUT / "systemd" / "python"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
ASKED = {
    "requirements.txt": PROJECT["project"]["dependencies"],
    "build-requirements.txt": [*PROJECT["build-system"]["requires"], "cython", "setuptools", "wheel"],
}


def pins(name: str) -> dict[str, str]:
    """The version of each package that the file names, and nothing else may be in it."""
    text = (FOLDER / name).read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    found = {}
    for line in lines:
        pin = re.fullmatch(r"([a-z0-9-]+)==([\w.]+)((?: ;[^;]*?)?)((?:\s+--hash=sha256:[0-9a-f]{64})+)", line)
        assert pin is not None, f"{name}: {line[:60]}"
        found[pin[1]] = pin[2]
    return found


@pytest.mark.parametrize("name", ASKED)
def test_each_version_is_one_that_the_project_asks_for_with_its_hashes(name: str) -> None:
    pinned = pins(name)
    for asked in map(Requirement, ASKED[name]):
        version = pinned.get(canonicalize_name(asked.name))
        assert version is not None, f"{asked.name} is not in {name}: run systemd/python/update.sh"
        assert asked.specifier.contains(version), f"{asked} is asked for: run systemd/python/update.sh"
