"""Reads and changes the state of stunwall and systemd in the machine."""

import json
from collections.abc import Callable
from typing import Any

from lab.deadline import until
from vm.early import SLOW
from vm.machine import Machine

UNIT, WALL_UNIT = "stunwall.service", "stunwall-wall.service"


def status(machine: Machine) -> dict[str, Any]:
    """`stunwall status --json`."""
    said: dict[str, Any] = json.loads(machine.attempt("stunwall", "status", "--json").output)
    return said


def daemon_status(machine: Machine) -> dict[str, Any] | None:
    """The daemon's own answer, None if it does not run. Faster than `status`, so better for polling."""
    said: dict[str, Any] | None = machine.channel.call("vm.inside:daemon_status")
    return said


def ready(machine: Machine) -> None:
    """Returns once the daemon answers."""
    until(lambda: daemon_status(machine), SLOW, "the daemon's answer")


def wait_state(machine: Machine, state: str) -> None:
    """Returns once the daemon says that it is in that state."""
    until(lambda: (daemon_status(machine) or {}).get("state") == state, SLOW, f"the state '{state}'")


def log(machine: Machine) -> list[dict[str, Any]]:
    """All of the record so far, the oldest first."""
    lines = machine.attempt("stunwall", "log", "--json", "--limit", "1000000").output
    return [json.loads(line) for line in lines.splitlines()]


def wait_event(machine: Machine, verdict: str) -> dict[str, Any]:
    """The first event of that kind, once it is in the record."""
    until(lambda: machine.channel.call("vm.inside:events", verdict), SLOW, f"an event '{verdict}'")
    return next(event for event in log(machine) if event["verdict"] == verdict)


def shown(machine: Machine, name: str) -> str:
    """A property of the daemon's unit, as systemd shows it."""
    return machine.run("systemctl", "show", "-P", name, UNIT).strip()


def journal(machine: Machine) -> str:
    """All that the daemon's unit said."""
    return machine.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager")


def systemctl(machine: Machine, verb: str, unit: str = UNIT) -> None:
    machine.run("systemctl", verb, unit, seconds=SLOW)


def table_exists(machine: Machine) -> bool:
    return machine.attempt("nft", "list", "table", "inet", "stunwall").code == 0


def assert_browsers_are_as_before(machine: Machine) -> None:
    """Nothing is left of what `set_a_browser` did."""
    assert "chromium" not in machine.run("ls", "/etc")


def assert_nothing_remains(machine: Machine) -> None:
    """After a purge: no rule, route, user or file of stunwall's."""
    assert not table_exists(machine)
    found = machine.run(
        "sh", "-c", "find / /run -xdev -name '*stunwall*' -not -path '/run/systemd/units/*'", seconds=SLOW
    )
    assert not found, found
    for family in ("-4", "-6"):
        assert "4780" not in machine.run("ip", family, "rule")
        assert machine.attempt("ip", family, "route", "show", "table", "4780").output == ""
    for database in ("passwd", "group"):
        assert machine.attempt("getent", database, "stunwall").code != 0


def begun(machine: Machine) -> list[tuple[int, float]]:
    """Number and time of each event in the record; what else an event has may still change."""
    return [(event["id"], event["time"]) for event in log(machine)]


def assert_upgrade_keeps_settings_and_record(machine: Machine, upgrade: Callable[[], object]) -> None:
    """For a daemon with on_block = "drop" that has recorded something: `upgrade` replaces it by another one."""
    known = begun(machine)
    assert known
    before = shown(machine, "MainPID")
    upgrade()
    ready(machine)
    assert shown(machine, "MainPID") != before
    assert status(machine)["daemon"]["on_block"] == "drop"
    assert begun(machine)[: len(known)] == known


def configure(machine: Machine, text: str) -> None:
    """Writes a file of settings; the daemon reads it when it is started or reloaded."""
    machine.run("tee", "/etc/stunwall/conf.d/10-test.toml", text=text)


def redirect_into(machine: Machine, interface: str) -> None:
    """Adds a VPN interface without a peer, and redirects into it the STUN that would bypass it."""
    script = f"""
        link add {interface} type wireguard
        address add 10.9.0.2/32 dev {interface}
        link set {interface} up
        route add default dev {interface} table 99
        rule add lookup 99 pref 5000
    """
    machine.run("ip", "-batch", "-", text=script)
    configure(machine, 'mode = "redirect"\n')
    systemctl(machine, "reload")
    assert f"dev {interface}" in machine.run("ip", "route", "show", "table", "4780")
    assert "lookup 4780" in machine.run("ip", "rule")


def drop_in(machine: Machine, unit: str, text: str) -> str:
    """Changes a unit until the next boot; returns the folder that does it."""
    folder = f"/run/systemd/system/{unit}.d"
    machine.run("mkdir", "-p", folder)
    machine.run("tee", f"{folder}/10-test.conf", text=f"[Service]\n{text}")
    machine.run("systemctl", "daemon-reload")
    return folder


def set_a_browser(machine: Machine) -> None:
    """Sets the policy of Chromium, of which there is only the name; stunwall's removal has to take it back."""
    machine.run("touch", "/usr/bin/chromium")
    machine.run("stunwall", "browsers", "set", "default_public_interface_only")
    assert "WebRtcIPHandling" in machine.run("cat", "/etc/chromium/policies/managed/stunwall.json")
    machine.run("rm", "/usr/bin/chromium")


def kill_for_good(machine: Machine) -> None:
    """Kills a daemon that redirects and prevents its restart: its rules and routes stay in the kernel."""
    kill_daemon(machine)
    assert "lookup 4780" in machine.run("ip", "rule")


def kill_daemon(machine: Machine) -> None:
    """Kills the daemon and prevents its restart: the wall stays in the kernel."""
    folder = drop_in(machine, UNIT, "Restart=no\n")
    machine.run("systemctl", "kill", "-s", "KILL", UNIT)
    until(lambda: shown(machine, "ActiveState") == "failed", SLOW, "the daemon's end")
    machine.run("rm", "-r", folder)
    machine.run("systemctl", "daemon-reload")
    assert table_exists(machine)
