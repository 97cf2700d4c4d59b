"""cli/app.py: help, the version, and wrong command lines."""

import re
import shlex

import pytest

from stunwall import __version__
from unit.cli.command import Result, Stunwall
from unit.test_manual import commands


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "nope",
        "log --nope",
        "log extra",
        "log --limit 0",
        "log --limit -1",
        "log --limit many",
        "log --limit",
        "show",
        "show one",
        "show 1.5",
        "show 1 2",
        "config",
        "config nope",
        "vpn wg0",
        "pause",
        "pause 5d",
        "pause 90",
        "pause -- -5m",
        "pause '5 m'",
        "pause 1.5h",
        "pause forever",
        "pause 1234567s",
        "pause ''",
        "resume now",
        "allow",
        "allow nope",
        "allow add",
        "allow add --port 1",
        "allow add --port many --why x",
        "allow remove",
        "allow remove One",
    ],
)
def test_a_wrong_command_line_is_exit_code_2(stunwall: Stunwall, arguments: str) -> None:
    result = stunwall(*shlex.split(arguments))
    assert result.code == 2
    assert re.search("Usage: stunwall|Error", result.err + result.out)


@pytest.mark.parametrize("path", [*commands(), "allow", "config"])
def test_every_command_has_help_that_fits_a_terminal_of_80_columns(stunwall: Stunwall, path: str) -> None:
    result = stunwall(*path.split(), "--help")
    assert result.code == 0
    assert "Usage: stunwall" in result.out
    assert [line for line in result.out.splitlines() if len(line) > 80] == []
    assert not re.search(r"\w\.\.\.", result.out), "a description is cut off"
    if path not in ("allow", "config", "resume", "allow list", "allow remove"):
        assert re.search(r"Examples?:|States:|First steps:", result.out)


def test_the_version_is_printed(stunwall: Stunwall) -> None:
    assert stunwall("--version") == Result(0, f"stunwall {__version__}\n", "")
