"""The fixtures that the lab's tests share."""

import subprocess
from collections.abc import Iterator

import pytest

from lab.agent import Agent
from lab.cgroups import ROOT, Cgroups
from lab.namespace import require_isolation
from lab.topology import Lab

try:
    require_isolation()
except RuntimeError as error:
    pytest.exit(str(error), returncode=4)


# Not "session": the browser tests have a lab too, and two labs can't use the same namespace names at once.
@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(autouse=True)
def no_connections(lab: Lab) -> None:
    """No entry is left of an earlier test.

    A socket with the port of one would be sent where that flow was, or refused, as one of a known flow.
    """
    lab.client.delete_connections()


@pytest.fixture
def vpn(lab: Lab) -> None:
    """The lab's own VPN is up, for both families."""
    lab.vpn.up(ipv6=True)


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Iterator[Agent]:
    """A stunwalld that runs until the module ends: tests that start their own come before the first that uses it."""
    lab.vpn.up(ipv6=True)
    with Agent(lab) as agent:
        yield agent


@pytest.fixture
def cgroups(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cgroups]:
    """The hierarchy, mounted for the tests only."""
    mounted = subprocess.run(["mount", "-t", "cgroup2", "none", str(ROOT)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"needs cgroup v2: {mounted.stderr.strip()}")
    # `ip netns exec` mounts its own /sys, without the hierarchy.
    enter = ["nsenter", "--net=/run/netns/client"]
    monkeypatch.setattr(lab.client, "command", lambda *arguments: [*enter, *arguments])
    made = Cgroups(lab)
    yield made
    made.close()
    subprocess.run(["umount", str(ROOT)], check=True)
