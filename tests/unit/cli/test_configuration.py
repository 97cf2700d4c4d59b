"""cli/configuration.py: `stunwall config check` and `stunwall reload`."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from stunwall.config import Allow
from unit.cli.command import Daemon, Stunwall


def test_config_check_shows_all_values(folder: Path, stunwall: Stunwall) -> None:
    result = stunwall("config", "check")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{folder / 'c.toml'} is valid.\n")
    assert f'  state_dir = "{folder}"\n' in result.out
    values = json.loads(stunwall("config", "check", "--json").out)
    assert values["guard_ports"] == [3478, 5349]
    assert values["log"] == {"keep_days": 90, "keep_rows": 1000000, "own_only": False}


def test_config_check_accepts_another_file_and_shows_its_exceptions(folder: Path, stunwall: Stunwall) -> None:
    other = folder / "other.toml"
    other.write_text('[[allow]]\nto = "2001:db8::/32"\nprotocol = "udp"\nwhy = "a test"\n')
    values = json.loads(stunwall("config", "check", str(other), "--json").out)
    rule = dict.fromkeys(field.name for field in fields(Allow))
    assert values["allow"] == [rule | {"why": "a test", "to": "2001:db8::/32", "protocol": "udp"}]
    assert (values["mark_mask"], values["allow_lan"], values["status_for_all"]) == (0x90000000, False, False)


@pytest.mark.parametrize(
    "arguments", [["config", "check"], ["log"], ["show", "1"], ["status"], ["status", "--json"]]
)
def test_an_invalid_configuration_is_one_line_and_exit_code_3(
    folder: Path, stunwall: Stunwall, arguments: list[str]
) -> None:
    wrong = folder / "wrong.toml"
    wrong.write_text("\nqueue = -1\n")
    result = stunwall(*arguments, config=wrong)
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith(f"stunwall: {wrong}, line 2: queue: ")
    assert result.err.count("\n") == 1
    missing = stunwall(*arguments, config=folder / "missing.toml")
    assert (missing.code, missing.out) == (3, "")


def test_reload_asks_the_daemon_and_lists_what_changed(
    stunwall: Stunwall, served: Daemon, daemon: dict[str, Any]
) -> None:
    daemon["changed"] = ["mode", "allow"]
    assert stunwall("reload").out == "Now in effect: mode, allow.\n"
    assert json.loads(stunwall("reload", "--json").out) == {"changed": ["mode", "allow"]}
    daemon["changed"] = []
    assert stunwall("reload").out == "Nothing has changed.\n"
    assert served.asked == [{"command": "reload"}] * 3
    daemon["error"] = "nothing is changed, as queue can't be"
    result = stunwall("reload")
    assert (result.code, result.err) == (1, "stunwall: nothing is changed, as queue can't be\n")
