"""The Ansible role, applied to a machine over its cable."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from vm.early import SLOW, under_traffic
from vm.fleet import administrator
from vm.image import Image
from vm.machine import Machine
from vm.outside import MachineLab
from vm.package import NEXT, package
from vm.service import (
    assert_nothing_remains,
    assert_upgrade_keeps_settings_and_record,
    daemon_status,
    shown,
    table_exists,
    wait_event,
)

# Minutes of emulation. The older release: its Python is one that Debian 12's ansible-core knows.
pytestmark = [pytest.mark.thorough, pytest.mark.older]

CONFIG = {"on_block": "drop", "log": {"keep_days": 30}, "webrtc_programs": ["my-'browser\" # [x]\\"]}
EXCEPTION = {
    "to": "203.0.113.77",
    "port": 10000,
    "protocol": "udp",
    "why": 'it\'s "the" bridge \\ [[allow]] # é',
}
OF_THE_MACHINE = ("--port", "7", "--why", "made on the machine")


def exceptions(machine: Machine) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(machine.run("stunwall", "allow", "list", "--json"))["allow"]
    return listed


def whys(machine: Machine) -> set[str]:
    return {each["why"] for each in exceptions(machine)}


def test_installed_configured_upgraded_and_removed(
    lab: MachineLab, machine: Machine, built: Image, deb: Path, tmp_path: Path
) -> None:
    machine.run("dpkg", "--purge", "stunwall", seconds=300)
    shutil.copy(deb, tmp_path / "stunwall.deb")
    wanted = {
        "stunwall_deb": str(tmp_path / "stunwall.deb"),
        "stunwall_config": CONFIG,
        "stunwall_check_every_vpn_up": False,
        "stunwall_exceptions": [EXCEPTION],
    }
    with administrator(lab.isp, machine, tmp_path) as fleet:
        # Installed and configured
        shown_only = fleet.play("--check", "--diff", **wanted)
        assert (shown_only.code, shown_only.recap["failed"]) == (0, 0)
        assert_nothing_remains(machine)
        assert fleet.play(**wanted).code == 0
        assert table_exists(machine)
        said = daemon_status(machine)
        assert said is not None
        assert said["on_block"] == "drop"
        assert whys(machine) == {EXCEPTION["why"]}
        for options in ((), ("--check", "--diff")):
            again = fleet.play(*options, **wanted)
            assert (again.code, again.recap["changed"]) == (0, 0)

        # One exception changed; the daemon goes on
        machine.run("stunwall", "allow", "add", *OF_THE_MACHINE, seconds=SLOW)
        pid = shown(machine, "MainPID")
        wanted["stunwall_exceptions"] = [EXCEPTION | {"port": 10001}]
        changed = fleet.play("--diff", **wanted)
        assert changed.changed == ["Write the exceptions", "Reload stunwall"]
        assert "+port = 10001" in changed.output
        assert {each.get("port") for each in exceptions(machine)} == {10001, 7}

        # A wrong one changes nothing
        wrong = fleet.play(**wanted | {"stunwall_exceptions": [EXCEPTION | {"port": 70000}]})
        assert (wrong.recap["failed"], wrong.recap["changed"]) == (1, 0)
        assert "allow.port: a whole number from 1 to 65535 expected, found 70000" in wrong.output
        machine.run("tee", "/etc/stunwall/conf.d/50-own.toml", text='inside = ["lan0"]\n')
        wrong = fleet.play(**wanted | {"stunwall_config": CONFIG | {"interfaces": ["lan*"]}})
        assert (wrong.recap["failed"], wrong.recap["changed"]) == (1, 0)
        assert "'lan0' in inside and 'lan*' in interfaces name the same" in wrong.output
        assert {each.get("port") for each in exceptions(machine)} == {10001, 7}
        assert shown(machine, "MainPID") == pid

        # What only a restart can change
        wanted["stunwall_config"] = CONFIG | {"queue": 4781}
        assert fleet.play(**wanted).changed == [
            "Write the settings",
            "Restart stunwall where it takes the new configuration by no reload",
        ]

        # Upgraded
        shutil.copy(package(built, NEXT), tmp_path / "stunwall.deb")
        with under_traffic(lab, machine):
            wait_event(machine, "blocked")
            assert_upgrade_keeps_settings_and_record(machine, lambda: fleet.play(**wanted))
        assert machine.run("dpkg-query", "-W", "-f", "${Version}", "stunwall") == NEXT
        assert whys(machine) == {EXCEPTION["why"], "made on the machine"}
        assert fleet.play(**wanted).recap["changed"] == 0

        # Removed
        gone = {"stunwall_state": "absent", "stunwall_purge": True}
        assert fleet.play(**gone).code == 0
        assert_nothing_remains(machine)
        assert fleet.play(**gone).recap["changed"] == 0
