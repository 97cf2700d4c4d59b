"""cli/preset.py: `stunwall allow preset`."""

import json
import os
import socket
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from stunwall.configfile.drop_in import NAME, toml
from stunwall.presets import installed
from stunwall.presets.table import presets
from stunwall.wall import units
from unit.cli.command import Daemon, Stunwall

TAILSCALE = presets()["tailscale"]
RULE = {
    "port": 3478,
    "protocol": "udp",
    "unit": "tailscaled.service",
    "preset": "tailscale",
    "why": TAILSCALE.why,
}


@pytest.fixture(autouse=True)
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cgroups of a machine on which tailscaled runs, and nothing is installed."""
    root = tmp_path / "cgroup"
    (root / "system.slice" / "tailscaled.service").mkdir(parents=True)
    monkeypatch.setattr(units, "ROOT", root)
    for name in ("_UNITS", "_USER_UNITS", "_DESKTOP"):
        monkeypatch.setattr(installed, name, ())
    return root


@pytest.fixture
def there(folder: Path) -> Any:
    """Writes the exceptions that are in effect."""

    def write(*rules: dict[str, Any]) -> None:
        (folder / "conf.d").mkdir(exist_ok=True)
        (folder / "conf.d" / NAME).write_text(toml(list(rules)))

    return write


def words(text: str) -> str:
    return " ".join(text.split())


def test_it_asks_the_daemon_for_what_it_prints(stunwall: Stunwall, served: Daemon, folder: Path) -> None:
    done = stunwall("allow", "preset", "tailscale")
    assert (done.code, done.err) == (0, "")
    assert served.asked == [{"command": "allow-preset", "rules": [RULE]}]
    head, _, table = done.out.partition("[[allow]]")
    assert words(head) == (
        f"Preset tailscale, of {TAILSCALE.date}: {TAILSCALE.purpose} Reveals {TAILSCALE.reveals} Without "
        f"{TAILSCALE.without} Written to {folder}/conf.d/{NAME}, and in effect:"
    )
    table, _, undo = table.partition("To undo it")
    assert tomllib.loads(f"[[allow]]{table}") == {"allow": [RULE]}
    assert undo == ": sudo stunwall allow remove tailscale\n"


def test_json_has_what_is_written(stunwall: Stunwall, served: Daemon, folder: Path) -> None:
    printed = json.loads(stunwall("allow", "preset", "tailscale", "--json").out)
    assert printed["preset"] == "tailscale"
    assert printed["reveals"] == TAILSCALE.reveals
    assert printed["date"] == TAILSCALE.date.isoformat()
    assert printed["sources"] == list(TAILSCALE.sources)
    assert printed["allow"] == printed["new"] == [RULE]
    assert (printed["covered_by"], printed["written"]) == ([], True)
    assert printed["file"] == str(folder / "conf.d" / NAME)


def test_a_dry_run_asks_nobody_and_needs_no_daemon(stunwall: Stunwall, folder: Path) -> None:
    done = stunwall("allow", "preset", "tailscale", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert f"Would be written to {folder}/conf.d/{NAME}: [[allow]] port = 3478" in words(done.out)
    assert done.out.endswith("To write it, run this with sudo and without --dry-run.\n")
    printed = json.loads(stunwall("allow", "preset", "tailscale", "--dry-run", "--json").out)
    assert (printed["new"], printed["written"]) == ([RULE], False)


def test_with_a_length_the_exceptions_end(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch, there: Any
) -> None:
    there(RULE)
    before = int(time.time())
    assert stunwall("allow", "preset", "tailscale", "--for", "1h").code == 0
    (rule,) = served.asked[0]["rules"]
    assert rule.pop("until") in range(before + 3600, before + 3700)
    assert rule == RULE
    assert stunwall("allow", "preset", "tailscale", "--for", "x").code == 2
    assert len(served.asked) == 1


def test_twice_is_no_change(stunwall: Stunwall, served: Daemon, there: Any) -> None:
    there({"port": 1, "why": "mine"}, RULE)
    done = stunwall("allow", "preset", "tailscale")
    assert (done.code, served.asked) == (0, [])
    assert done.out.endswith("Its exceptions are already in effect.\nNothing was changed.\n")


def test_a_preset_of_another_version_is_written_anew(stunwall: Stunwall, served: Daemon, there: Any) -> None:
    there(RULE | {"port": 5, "why": "of another version"})
    assert stunwall("allow", "preset", "tailscale").code == 0
    assert served.asked == [{"command": "allow-preset", "rules": [RULE]}]


def test_what_another_exception_allows_is_not_written_again(
    stunwall: Stunwall, served: Daemon, there: Any
) -> None:
    there({"port": 1, "why": "mine"}, {"unit": "tailscaled.service", "why": "mine, too"})
    done = stunwall("allow", "preset", "tailscale")
    assert (done.code, served.asked) == (0, [])
    told = "All of it is already allowed by exception 2 in `stunwall allow list`.\nNothing was changed.\n"
    assert done.out.endswith(told)
    assert json.loads(stunwall("allow", "preset", "tailscale", "--json").out)["covered_by"] == [2]


def test_what_is_missing_of_several_is_written(
    stunwall: Stunwall, served: Daemon, cgroups: Path, there: Any
) -> None:
    (cgroups / "system.slice" / "netclient.service").mkdir()
    there({"port": 3478, "protocol": "udp", "why": "mine"})
    done = stunwall("allow", "preset", "netmaker")
    assert [rule["port"] for rule in served.asked[0]["rules"]] == [19302]
    assert "Some of it is already allowed by exception 1 in `stunwall allow list`." in words(done.out)


def test_nothing_is_allowed_for_a_program_that_is_not_there(stunwall: Stunwall, served: Daemon) -> None:
    done = stunwall("allow", "preset", "netbird")
    assert (done.code, done.out, served.asked) == (1, "", [])
    assert done.err == (
        "stunwall: NetBird neither runs nor is enabled on this machine as netbird.service, so nothing was allowed. "
        "Start it and try again. `stunwall allow add` allows another unit, by --unit, which `systemd-cgls` shows, or a "
        "container, by --from\n"
    )
    assert "Start it, name its user with --user, and try again" in stunwall("allow", "preset", "steam").err


@pytest.mark.parametrize(
    ("arguments", "sudo", "user"), [((), "4711", 4711), (("--user", "4711"), "", 4711), ((), "", 0)]
)
def test_an_application_is_that_of_a_user(
    stunwall: Stunwall,
    served: Daemon,
    cgroups: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    sudo: str,
    user: int,
) -> None:
    """Without one, as root, those of everybody who is logged in."""
    monkeypatch.setenv("SUDO_UID", sudo)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    for uid in (0, 4711):
        manager = f"user.slice/user-{uid}.slice/user@{uid}.service"
        (cgroups / manager / "app.slice" / "app-gnome-steam-1.scope").mkdir(parents=True)
    assert stunwall("allow", "preset", "steam", *arguments).code == 0
    found = [rule["user"] for rule in served.asked[0]["rules"]]
    assert found == [user] if user else [0, 4711]
    assert stunwall("allow", "preset", "steam", "--user", "nobody-here").code == 2


# A server


def test_an_exception_for_a_program_can_be_for_one_server(stunwall: Stunwall, served: Daemon) -> None:
    for to, network in (
        ("203.0.113.7", "203.0.113.7/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("localhost", "127.0.0.1/32"),
    ):
        assert stunwall("allow", "preset", "tailscale", "--to", to).code == 0
        assert RULE | {"to": network} in served.asked[-1]["rules"]
    for wrong, code in (("203.0.113.7/24", 2), ("a.invalid", 1), ("x" * 300, 1), ("", 1)):
        assert stunwall("allow", "preset", "tailscale", "--to", wrong).code == code
    assert len(served.asked) == 4


def test_each_address_of_a_name_gets_an_exception(
    stunwall: Stunwall, served: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = ["203.0.113.7", "2001:db8::7", "203.0.113.7"]
    answer = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (each, 0)) for each in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    monkeypatch.setenv("SUDO_UID", "4711")
    assert stunwall("allow", "preset", "jitsi", "--to", "meet.example.org").code == 0
    rules = served.asked[0]["rules"]
    assert [rule["to"] for rule in rules] == ["203.0.113.7/32", "2001:db8::7/128"]
    assert {(rule["port"], rule["user"]) for rule in rules} == {(10000, 4711)}


@pytest.mark.parametrize("to", [(), ("--to", "203.0.113.0/24"), ("--to", "::/0")])
def test_calls_in_a_browser_need_one_server(stunwall: Stunwall, served: Daemon, to: tuple[str, ...]) -> None:
    done = stunwall("allow", "preset", "jitsi", *to)
    assert (done.code, done.out, served.asked) == (1, "", [])
    assert done.err == (
        "stunwall: Jitsi Meet, in a browser: nothing tells its packets from those of any other page, so an exception "
        "for the browser would show every page your real address. Name the one server that may see it, with --to HOST. "
        'Or keep the calls in the VPN, where they work: mode = "redirect" moves those into it that would bypass it. If '
        "the server itself runs on this machine, see the preset jitsi-videobridge\n"
    )


# Names


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tailscal", "did you mean tailscale?"),
        ("Tailscale", "did you mean tailscale?"),
        ("nextcloud", "did you mean nextcloud-talk?"),
        ("mullvad", "there is no preset 'mullvad': `stunwall allow preset list` shows them"),
        ("\x1b]0;x\x07", "there is no preset"),
    ],
)
def test_an_unknown_name_is_exit_code_2_with_names_that_are_similar(
    stunwall: Stunwall, served: Daemon, name: str, told: str
) -> None:
    done = stunwall("allow", "preset", name)
    assert (done.code, done.out, served.asked) == (2, "", [])
    assert told in words(done.err)
    assert "\x1b" not in done.err


def test_a_program_that_needs_no_exception_is_told(stunwall: Stunwall, served: Daemon) -> None:
    done = stunwall("allow", "preset", "zerotier")
    assert (done.code, served.asked) == (0, [])
    assert done.out.startswith("ZeroTier needs no exception: ZeroTier does not use STUN")
    printed = json.loads(stunwall("allow", "preset", "zerotier", "--json").out)
    assert printed.keys() == {"preset", "title", "unneeded"}


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_the_presets_are_listed_with_what_each_reveals(
    stunwall: Stunwall, there: Any, arguments: tuple[str, ...]
) -> None:
    there(RULE)
    done = stunwall("allow", "preset", *arguments)
    assert (done.code, done.err) == (0, "")
    said = words(done.out)
    for each in presets().values():
        note = " (in effect)" if each is TAILSCALE else ""
        assert f"{each.name} {each.purpose}{note} reveals {each.reveals} " in said
    assert "zerotier not needed: ZeroTier does not use STUN" in said
    printed = json.loads(stunwall("allow", "preset", *arguments, "--json").out)
    assert [each["preset"] for each in printed["presets"]] == list(presets())
    assert [each["preset"] for each in printed["presets"] if each["in_effect"]] == ["tailscale"]
    assert [each["preset"] for each in printed["presets"] if each["server_named"]] == [
        "jitsi",
        "nextcloud-talk",
    ]
    assert [each["preset"] for each in printed["unneeded"]] == ["zerotier"]
