"""cli/daemon.py: commands that need the daemon."""

from pathlib import Path

import pytest

from stunwall import hints
from stunwall.control.protocol import FILE as SOCKET
from unit.cli.command import HOSTILE, Daemon, Result, Stunwall

ASKING = [
    ["vpn"],
    ["pause", "5m"],
    ["resume"],
    ["allow", "list"],
    ["allow", "remove", "1"],
    ["allow", "add", "--port", "1", "--why", "x"],
]


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_commands_say_so_if_the_daemon_is_not_running_or_refuses(
    folder: Path, stunwall: Stunwall, served: Daemon, arguments: list[str], options: list[str]
) -> None:
    served.reply = {"error": "not now"}
    assert stunwall(*arguments, *options) == Result(1, "", "stunwall: not now\n")
    (folder / SOCKET).unlink()
    error = f"stunwall: stunwalld is not running: start it with {hints.START}\n"
    assert stunwall(*arguments, *options) == Result(1, "", error)
    wrong = folder / "wrong.toml"
    wrong.write_text("queue = -1\n")
    result = stunwall(*arguments, *options, config=wrong)
    assert (result.code, result.out) == (3, "")


def test_no_text_from_the_daemon_can_control_the_terminal(stunwall: Stunwall, served: Daemon) -> None:
    served.reply = {
        "allow": [{"unit": HOSTILE, "why": HOSTILE}],
        "interfaces": [{"interface": HOSTILE, "kind": HOSTILE, "counts": True, "why": HOSTILE}],
    }
    for arguments in (["vpn"], ["allow", "remove", "1"], ["allow", "remove", "1", "--json"]):
        result = stunwall(*arguments)
        assert (result.code, result.err) == (0, "")
        assert "owned" in result.out
        assert all(line.isprintable() for line in result.out.split("\n"))
