"""A kernel without rules, and a way out."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from unit.wall_kernel import HIERARCHY, Way, run_nft


@pytest.fixture
def clear(lab: None) -> Iterator[None]:
    """No table before, none after."""
    run_nft("flush", "ruleset")
    yield
    run_nft("flush", "ruleset")


@pytest.fixture
def way() -> Iterator[Way]:
    made = Way()
    yield made
    made.close()


@pytest.fixture
def unit() -> Iterator[str]:
    """A cgroup, by its path; the hierarchy is mounted in the tests' own mounts."""
    subprocess.run(["mount", "-t", "cgroup2", "none", str(HIERARCHY)], check=True)
    path = f"stunwall-{os.urandom(4).hex()}/a\\x2db@1:2.scope"
    (HIERARCHY / path).mkdir(parents=True)
    yield path
    (HIERARCHY / path).rmdir()
    (HIERARCHY / path).parent.rmdir()
    subprocess.run(["umount", str(HIERARCHY)], check=True)
