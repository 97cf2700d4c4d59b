"""The units in systemd/, beside those of firewalls: systemd finds an order for all of them, and drops no job."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from unit.made_root import CHECKOUT
from vectors.units import CYCLES, FIREWALLS, OPT_ON_NFS

OURS = ("stunwall-wall.service", "stunwall.service")
OTHER = "other.service"
FORMER = "After=nftables.service systemd-modules-load.service"
"""How the wall's unit was ordered once: after what may flush all rules."""


def verified(folder: Path, firewall: str, text: str) -> str:
    """What systemd says about a boot with stunwall's units, the network's and those in `folder`."""
    for name in OURS:
        if not (folder / name).exists():
            shutil.copy(CHECKOUT / "systemd" / name, folder)
    (folder / firewall).write_text(text)
    drop_in = folder / "nftables.service.d" / "stunwall.conf"
    drop_in.parent.mkdir()
    shutil.copy(CHECKOUT / "systemd" / "nftables-drop-in.conf", drop_in)
    for name in (*OURS, firewall):
        enable(folder, name)
    (folder / "multi-user.target.wants" / "systemd-networkd.service").symlink_to(
        "/lib/systemd/system/systemd-networkd.service"
    )
    command = ["systemd-analyze", "verify", "--man=no", "multi-user.target"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:"}
    )
    return done.stderr


def enable(folder: Path, name: str) -> None:
    """As `systemctl enable` does it."""
    target = re.search(r"^WantedBy=(\S+)$", (folder / name).read_text(), re.M)
    assert target is not None
    wants = folder / f"{target[1]}.wants"
    wants.mkdir(exist_ok=True)
    (wants / name).symlink_to(folder / name)


@pytest.fixture(autouse=True)
def systemd() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.fail("this test needs systemd-analyze: run it by tests/run.sh unit", pytrace=False)


@pytest.mark.parametrize(("firewall", "text"), FIREWALLS.values(), ids=FIREWALLS)
def test_no_firewall_that_starts_before_the_network_makes_systemd_drop_a_job(
    tmp_path: Path, firewall: str, text: str
) -> None:
    said = verified(tmp_path, firewall, text)
    # stunwall is not installed where this runs.
    others = [line for line in said.splitlines() if "is not executable: No such file" not in line]
    assert others == []


@pytest.mark.parametrize(("firewall", "text", "order"), CYCLES.values(), ids=CYCLES)
def test_a_cycle_that_other_units_make_does_not_concern_stunwall(
    tmp_path: Path, firewall: str, text: str, order: str
) -> None:
    (tmp_path / OTHER).write_text(
        f"[Unit]\n{order}\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
    )
    enable(tmp_path, OTHER)
    said = verified(tmp_path, firewall, text)
    assert "deleted to break ordering cycle" in said
    assert not [line for line in said.splitlines() if "stunwall" in line and "is not executable" not in line]


def assert_cycle(said: str, other: str) -> None:
    """The wall is in an ordering cycle with another unit. Which of its jobs systemd drops is chance."""
    assert "deleted to break ordering cycle" in said
    cycle = [line for line in said.splitlines() if "Found " in line]
    for unit in ("stunwall-wall.service", other):
        assert any(unit in line for line in cycle), said


def test_an_order_after_a_unit_with_default_dependencies_would_make_a_cycle_with_the_wall(
    tmp_path: Path,
) -> None:
    text = (CHECKOUT / "systemd" / OURS[0]).read_text()
    assert FORMER not in text
    (tmp_path / OURS[0]).write_text(text.replace("After=systemd-modules-load.service", FORMER))
    said = verified(tmp_path, *FIREWALLS["nftables.service of Fedora and Arch"])
    assert_cycle(said, "nftables.service")


def test_a_mount_after_the_network_that_holds_stunwall_makes_a_cycle_with_the_wall(tmp_path: Path) -> None:
    """A known gap: SECURITY.md names it, and doctor reports it."""
    (tmp_path / "opt.mount").write_text(OPT_ON_NFS)
    enable(tmp_path, "opt.mount")
    said = verified(tmp_path, *FIREWALLS["nftables.service of Debian"])
    assert_cycle(said, "opt.mount")
