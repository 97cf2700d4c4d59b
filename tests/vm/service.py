"""What the machine's stunwall and systemd say, and how a test speaks to them."""

import json
from typing import Any

from lab.deadline import until
from vm.early import SLOW
from vm.machine import Machine

UNIT = "stunwall.service"


def status(machine: Machine) -> dict[str, Any]:
    """`stunwall status --json`."""
    said: dict[str, Any] = json.loads(machine.attempt("stunwall", "status", "--json").output)
    return said


def ready(machine: Machine) -> None:
    """Returns once the daemon answers."""
    until(lambda: status(machine)["daemon"] is not None, SLOW, "the daemon's answer")


def log(machine: Machine) -> list[dict[str, Any]]:
    """All of the record so far, the oldest first."""
    lines = machine.attempt("stunwall", "log", "--json", "--limit", "1000000").output
    return [json.loads(line) for line in lines.splitlines()]


def wait_event(machine: Machine, verdict: str) -> dict[str, Any]:
    """The first event of that kind, once it is in the record."""
    until(lambda: any(event["verdict"] == verdict for event in log(machine)), SLOW, f"an event '{verdict}'")
    return next(event for event in log(machine) if event["verdict"] == verdict)


def shown(machine: Machine, name: str) -> str:
    """A property of the daemon's unit, as systemd shows it."""
    return machine.run("systemctl", "show", "-P", name, UNIT).strip()


def journal(machine: Machine) -> str:
    """All that the daemon's unit said."""
    return machine.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager")


def systemctl(machine: Machine, verb: str, unit: str = UNIT) -> None:
    machine.run("systemctl", verb, unit, seconds=SLOW)


def table_stands(machine: Machine) -> bool:
    return machine.attempt("nft", "list", "table", "inet", "stunwall").code == 0


def assert_nothing_remains(machine: Machine) -> None:
    """After a purge: no rule, route, user or file of stunwall's."""
    assert not table_stands(machine)
    found = machine.run(
        "sh", "-c", "find / -xdev -name '*stunwall*' -not -path '/sys/*' -not -path '/run/checkout/*' "
        "-not -path '/var/lib/systemd/catalog/*' -not -path '/run/systemd/*'", seconds=SLOW,
    )  # fmt: skip
    assert found == ""
    for family in ("-4", "-6"):
        assert "4780" not in machine.run("ip", family, "rule")
        assert machine.attempt("ip", family, "route", "show", "table", "4780").output == ""
    for database in ("passwd", "group"):
        assert machine.attempt("getent", database, "stunwall").code != 0


def begun(machine: Machine) -> list[tuple[int, float]]:
    """Number and time of each event in the record; what else an event has may still change."""
    return [(event["id"], event["time"]) for event in log(machine)]


def configure(machine: Machine, text: str) -> None:
    """Writes a file of settings; the daemon reads it when it is started or reloaded."""
    machine.run("tee", "/etc/stunwall/conf.d/10-test.toml", text=text)
