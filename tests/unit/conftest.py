"""How hypothesis runs here: no test depends on how fast the machine is. And what needs a network of its own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from stunwall.wall.nft import Nft
from unit.fake_machine import FakeMachine, make
from unit.wall import Wall
from unit.wall_kernel import HIERARCHY

_SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
# The same examples in every run, so that a run that fails fails again.
settings.register_profile("unit", deadline=None, suppress_health_check=_SLOW, derandomize=True)
# `tests/run.sh fuzz`: others each time. What failed is kept, and tried first the next time.
_KEPT = Path(os.environ.get("XDG_CACHE_HOME", "/var/cache"), "stunwall-fuzz")
settings.register_profile(
    "fuzz",
    settings.get_profile("unit"),
    derandomize=False,
    max_examples=1_000,
    database=DirectoryBasedExampleDatabase(_KEPT),
)
settings.load_profile("unit")


@pytest.fixture(scope="session")
def lab() -> None:
    """Root in namespaces of the tests' own, where rules and routes may be changed."""
    if not os.environ.get("STUNWALL_LAB"):
        pytest.fail(
            "this test changes the kernel's rules and routes: run it by tests/run.sh unit", pytrace=False
        )


@pytest.fixture
def nft(lab: None) -> Iterator[Nft]:
    """nftables in the tests' own network namespace."""
    with closing(Nft()) as one:
        yield one


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """The machine that `stunwall doctor` examines: a healthy fake."""
    return make(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def wall(lab: None) -> Iterator[Wall]:
    """The chains of rules/stunwall.nft that find STUN, in the kernel."""
    made = Wall()
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
