"""systemd/scriptlet.sh, and the RPM and Arch's package, which run it: what they do around a change."""

import re
import subprocess
from pathlib import Path

import pytest

from unit.made_root import CHECKOUT, Root

SCRIPT = "systemd/scriptlet.sh"
SPEC = CHECKOUT / "systemd/rpm/stunwall.spec"
FUNCTIONS = CHECKOUT / "systemd/arch/stunwall.install"
UNITS = "stunwall-wall.service stunwall.service"
MADE = ["systemd-sysusers stunwall.conf", "systemd-tmpfiles --create stunwall.conf"]
REPLACED = ["systemctl daemon-reload", f"systemctl try-restart {UNITS}"]


@pytest.fixture
def root(lab: None, tmp_path: Path) -> Root:
    root = Root(tmp_path / "root")
    for name in ("systemd-tmpfiles", "stunwall", "stunwalld"):
        root.fake(name)
    return root


def test_once_installed_its_user_is_made_and_its_service_started_unless_a_preset_forbids_it(
    root: Root,
) -> None:
    ended = root.run(SCRIPT, "installed")
    assert (ended.code, ended.err) == (0, "")
    assert ended.calls == [
        *MADE,
        f"systemctl preset {UNITS}",
        "systemctl daemon-reload",
        f"systemctl start {UNITS}",
    ]


def test_an_upgrade_restarts_what_runs_and_stops_nothing(root: Root) -> None:
    assert root.run(SCRIPT, "upgraded").calls == MADE
    assert root.run(SCRIPT, "replaced").calls == REPLACED


def test_a_service_that_does_not_start_is_told_and_the_package_is_installed(root: Root) -> None:
    root.fake("systemctl", '[ "$1" != start ]')
    ended = root.run(SCRIPT, "installed")
    assert ended.code == 0
    assert "systemctl status stunwall" in ended.err


def test_a_removal_takes_all_down(root: Root) -> None:
    figures = "var/lib/prometheus/node-exporter/stunwall.prom"
    root.write(figures, "")
    assert root.run(SCRIPT, "removing").calls == [
        f"systemctl --no-reload disable {UNITS}",
        "systemctl stop stunwall.service stunwall-wall.service",
        "systemctl --quiet disable --now stunwall-metrics.timer",
        "stunwalld --take-down",
        "stunwall browsers reset --everyone",
    ]
    assert not (root.folder / figures).exists()


def test_a_removal_that_python_stands_in_the_way_of_still_takes_the_wall_down(root: Root) -> None:
    for name in ("stunwall", "stunwalld", "systemctl"):
        root.fake(name, "exit 1")
    ended = root.run(SCRIPT, "removing")
    assert ended.code == 0
    assert "nft delete table inet stunwall" in ended.calls


def test_without_systemd_nothing_is_started_or_stopped(root: Root) -> None:
    root.remove("run/systemd")
    for step in ("installed", "upgraded", "replaced", "removing"):
        ended = root.run(SCRIPT, step)
        assert ended.code == 0
        assert not [
            call for call in ended.calls if re.match("systemctl (start|stop|try|daemon)|stunwalld", call)
        ]


def steps(scripts: dict[str, str], *order: tuple[str, str], folder: Path) -> list[str]:
    """The steps of scriptlet.sh that scripts ask for, run in that order, each with its argument."""
    script = folder / "scriptlet.sh"
    noted = folder / "steps"
    noted.unlink(missing_ok=True)
    script.write_text(f"#!/bin/sh\necho $1 >>{noted}\n")
    script.chmod(0o755)
    for name, argument in order:
        text = scripts[name].replace("%{home}", str(folder)).replace("/usr/lib/stunwall", str(folder))
        subprocess.run(["sh", "-c", text, "sh", argument], check=True)
    return noted.read_text().split()


def test_rpm_removes_the_wall_only_when_the_last_version_goes(tmp_path: Path) -> None:
    """The argument is how many versions are there afterwards (rpm-scriptlets(7))."""
    parts = re.split(r"^%(\w+)$", SPEC.read_text(), flags=re.M)
    scripts = dict(zip(parts[1::2], parts[2::2], strict=True))
    scripts["post"] = scripts["post"].partition("#")[0]
    assert steps(scripts, ("pre", "1"), ("post", "1"), folder=tmp_path) == ["installed"]
    upgrade = (("pre", "2"), ("post", "2"), ("preun", "1"), ("postun", "1"))
    assert steps(scripts, *upgrade, folder=tmp_path) == ["upgraded", "replaced"]
    assert steps(scripts, ("preun", "0"), folder=tmp_path) == ["removing"]


def test_pacman_removes_the_wall_only_at_a_removal(tmp_path: Path) -> None:
    scripts = {
        name: f"{FUNCTIONS.read_text()}\n{name}"
        for name in re.findall(r"^(\w+)\(\)", FUNCTIONS.read_text(), re.M)
    }
    assert scripts.keys() == {"pre_install", "post_install", "post_upgrade", "pre_remove", "post_remove"}
    assert steps(scripts, ("pre_install", ""), ("post_install", ""), folder=tmp_path) == ["installed"]
    assert steps(scripts, ("post_upgrade", ""), folder=tmp_path) == ["upgraded", "replaced"]
    assert steps(scripts, ("pre_remove", ""), folder=tmp_path) == ["removing"]


def test_the_preset_is_for_the_units_that_are_started() -> None:
    text = (CHECKOUT / "systemd/stunwall.preset").read_text()
    assert re.findall(r"^enable (.*)$", text, re.M) == UNITS.split()


def test_arch_s_build_is_one_that_bash_takes() -> None:
    subprocess.run(["bash", "-n", CHECKOUT / "systemd/arch/PKGBUILD"], check=True)
    found = subprocess.run(
        ["shellcheck", CHECKOUT / "systemd/arch/PKGBUILD", FUNCTIONS], capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (0, "")
