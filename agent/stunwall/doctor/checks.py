"""What `stunwall doctor` looks at; a check yields what it found, and one that fails hides no other."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from stunwall import __version__
from stunwall.config import FIXED_KEYS, Allow, Config, Mode, WhenVpnDown
from stunwall.configfile import reader
from stunwall.configfile.errors import ConfigError, ConfigPermissionError
from stunwall.control.client import ask
from stunwall.control.protocol import ControlError, ControlPermissionError, Status
from stunwall.doctor import other_programs, permissions
from stunwall.doctor.findings import SYSTEMD, Check, Finding, Machine, Result, output, restart, start
from stunwall.model import StunwallError
from stunwall.record.reader import RecordReader
from stunwall.record.schema import FILE, RecordError, RecordPermissionError
from stunwall.text import date_time
from stunwall.wall import nft, requirements, state
from stunwall.wall.nft import NftError, NftPermissionError

_RELEASED = 1764547200  # Unix seconds, 2025-12-01: a clock before that is wrong
_NARROW = {4: 8, 6: 16}  # bits: a network with fewer is half the world
_FIRST_USER = 1000  # numbers of people begin there (login.defs(5), UID_MIN)
# What `status` tells of the configuration in force.
_COMPARED = ("mode", "on_block", "when_vpn_down", "queue", "mark_mask", "allow")
_LITTLE, _TOO_LITTLE = 100 << 20, 4 << 20  # bytes free for the record
_UNITS = ("stunwall-wall.service", "stunwall.service")


def examine(file: Path) -> list[Finding]:
    """Look at everything; the configuration is in `file`."""
    machine = Machine(file)
    return [finding for name, check in _CHECKS.items() for finding in _guarded(name, check, machine)]


def _guarded(name: str, check: Check, machine: Machine) -> list[Finding]:
    found: list[Finding] = []  # so that what it found before it failed is told
    try:
        found.extend(check(machine))
    except (StunwallError, OSError, subprocess.SubprocessError) as error:
        found.append(Finding(name, Result.UNKNOWN, f"could not be checked: {error}"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # nft, ip or the daemon, of another version perhaps, printed something else than is known.
        found.append(
            Finding(name, Result.UNKNOWN, f"could not be checked: an answer was not understood ({error!r})")
        )
    return found


def _configuration(machine: Machine) -> Iterator[Finding]:
    try:
        machine.settings = reader.load(machine.file)
    except ConfigPermissionError:
        machine.readable = False
        raise
    except ConfigError as error:
        machine.readable = False
        why = "a daemon that is started with it ends at once; the wall stays shut, and nothing is recorded"
        yield Finding(
            "configuration", Result.PROBLEM, str(error), why, "mend it, then `stunwall config check`"
        )
        return
    said = "is fine" if machine.file.exists() else "is not there: the defaults are in force"
    yield Finding("configuration", Result.OK, f"{machine.file} {said}")
    settings = machine.settings
    if settings.when_vpn_down is WhenVpnDown.ALLOW:
        why = "while the VPN reconnects, or fails, pages see the real address"
        yield Finding(
            "configuration",
            Result.WARNING,
            'when_vpn_down = "allow"',
            why,
            'set it to "block" unless you mean it',
        )
    for number, rule in enumerate(settings.allow, 1):
        if whose := _wide(rule):
            yield Finding(
                "configuration", Result.WARNING, f"exception {number} ({rule.why}) holds for {whose}",
                "whoever is asked by STUN in that way learns the real address",
                "narrow it with `to`, or with the `unit` of one program",
            )  # fmt: skip


def _wide(rule: Allow) -> str:
    """Whom an exception lets out that a web page can use, "" if it is narrow."""
    if rule.to is not None and rule.to.prefixlen >= _NARROW[rule.to.version]:
        return ""
    if rule.unit is not None:
        everybody = rule.unit.strip("/").split("/")[0] == "user.slice" and "service" not in rule.unit
        return "every program of who is logged in" if everybody else ""
    if rule.user is not None:
        return "every program of a user, browsers too" if rule.user >= _FIRST_USER else ""
    return "every destination"


def _kernel(machine: Machine) -> Iterator[Finding]:
    wall, missing = None, None
    try:
        wall = state.read()
    except NftPermissionError:
        raise
    except NftError as error:
        missing = str(error)
    if missing := requirements.missing(nft.refused) or missing:
        yield Finding(
            "kernel", Result.PROBLEM, missing, "without it there is no wall", f"mend that, then {restart()}"
        )
        return
    release, version = os.uname().release, output("nft", "--version").strip()
    yield Finding("kernel", Result.OK, f"Linux {release} and {version} have what the wall needs")
    if requirements.queues(nft.refused):
        return
    what = "nftables has no `queue` here: the xtables target NFQUEUE takes its place"
    if wall is not None and wall.queue is not None:
        why = "it does the same; `nft list` remarks that iptables-nft manages the table"
        yield Finding("kernel", Result.NOTE, what, why)
    else:
        yield Finding(
            "kernel", Result.WARNING, what, "whether the kernel has that one is seen when stunwalld starts",
            f"{start()}; if it names a missing piece, do as it says",
        )  # fmt: skip


def _daemon(machine: Machine) -> Iterator[Finding]:
    why = "what is blocked is not recorded, and a VPN that comes up is not let through"
    try:
        daemon = ask(machine.settings.run_dir, {"command": "status"})
    except ControlPermissionError:
        raise
    except ControlError as error:
        yield Finding("daemon", Result.PROBLEM, str(error), why, restart())
        return
    if daemon is None and not machine.readable:
        what = f"nothing answers in {machine.settings.run_dir}; the configuration may name another folder"
        yield Finding("daemon", Result.UNKNOWN, what, "", "see to the configuration first")
    elif daemon is None:
        yield Finding("daemon", Result.PROBLEM, "it does not run", why, start())
    elif "error" in daemon:
        yield Finding("daemon", Result.UNKNOWN, str(daemon["error"]))
    else:
        machine.daemon = daemon
        yield from _running(daemon)
        if machine.readable:
            yield from _in_force(machine.settings, daemon)


def _in_force(settings: Config, daemon: Status) -> Iterator[Finding]:
    """What the configuration says and the daemon does not do."""
    said = asdict(settings) | {"allow": [rule.plain() for rule in settings.allow]}
    differing = [key for key in _COMPARED if said[key] != daemon.get(key, said[key])]
    if differing:
        fixed = any(key in FIXED_KEYS for key in differing)
        yield Finding(
            "daemon", Result.WARNING, f"not in force yet: {', '.join(differing)} as the configuration has it",
            "the daemon still works by what it was before", restart() if fixed else "sudo stunwall reload",
        )  # fmt: skip


def _running(daemon: Status) -> Iterator[Finding]:
    if daemon["version"] != __version__:
        yield Finding(
            "daemon", Result.WARNING, f"version {daemon['version']} runs, {__version__} is installed",
            "an upgrade has not taken hold", restart(),
        )  # fmt: skip
    for problem in daemon["problems"]:
        yield Finding("daemon", Result.PROBLEM, problem)
    if daemon["state"] in ("open", "paused"):
        next_ = (
            "`sudo stunwall resume`"
            if daemon["state"] == "paused"
            else 'connect the VPN, or when_vpn_down = "block"'
        )
        yield Finding(
            "daemon", Result.PROBLEM, f"its state is {daemon['state']}", "all STUN passes now", next_
        )
    if daemon["queue_overruns"]:
        yield Finding(
            "daemon", Result.WARNING, f"{daemon['queue_overruns']} packets were more than it could take",
            "they were blocked, but are not in the record", "look for the program that sends so many: `stunwall log`",
        )  # fmt: skip
    if not daemon["problems"]:
        yield Finding("daemon", Result.OK, f"runs as process {daemon['pid']}, {daemon['state']}")


def _wall(machine: Machine) -> Iterator[Finding]:
    wall = state.read()
    if wall is None or not wall.intact:
        what = "there is none" if wall is None else "rules of it are gone, or others are between them"
        yield Finding(
            "wall",
            Result.PROBLEM,
            what,
            "STUN leaves by any interface",
            restart(),
        )
    elif wall.paused and machine.daemon is None:
        yield Finding(
            "wall", Result.PROBLEM, f"it is paused for {wall.paused} s more, though no daemon runs",
            "all STUN passes now", f"{start()}, then `sudo stunwall resume`",
        )  # fmt: skip
    elif wall.queue is None and machine.daemon is not None:
        yield Finding(
            "wall", Result.PROBLEM, "its door is shut though the daemon runs", "nothing is answered or recorded",
            restart(),
        )  # fmt: skip
    else:
        yield Finding("wall", Result.OK, "stands, and is whole")
    for gap in (machine.daemon or {}).get("gaps", ()):
        yield Finding(
            "wall", Result.WARNING,
            f"{gap['who'] or 'a program that is not known'} removed rules of it at "
            f"{date_time(gap['start'])}, for {gap['end'] - gap['start']:.3f} s",
            "STUN could leave in that time", "find out why that program flushes rules that are not its own",
        )  # fmt: skip


def _service(machine: Machine) -> Iterator[Finding]:
    if not SYSTEMD.is_dir():
        yield Finding(
            "service", Result.NOTE, "systemd does not run this machine: nothing starts stunwall at boot"
        )
        return
    for unit in _UNITS:
        lines = output("systemctl", "show", unit).splitlines()
        yield from _unit(unit, dict(line.split("=", 1) for line in lines if "=" in line))


def _unit(unit: str, shown: dict[str, str]) -> Iterator[Finding]:
    if "LoadState" not in shown:
        yield Finding("service", Result.UNKNOWN, f"systemd does not tell of {unit}")
        return
    if shown["LoadState"] == "not-found":
        why = "after the next boot nothing is blocked"
        yield Finding(
            "service", Result.PROBLEM, f"{unit} is not installed", why, "install stunwall as a service"
        )
        return
    if (state := shown.get("UnitFileState")) != "enabled":
        why = "after the next boot it is not there"
        next_ = f"sudo systemctl unmask {unit}; " if shown["LoadState"] == "masked" else ""
        yield Finding(
            "service",
            Result.PROBLEM,
            f"{unit} is {state}",
            why,
            f"{next_}sudo systemctl enable {unit}",
        )
    if shown.get("ActiveState") != "active":
        what = f"{unit} is {shown.get('ActiveState')} ({shown.get('Result')})"
        yield Finding(
            "service", Result.PROBLEM, what, "", f"sudo systemctl restart {unit}; journalctl -u {unit}"
        )
    else:
        yield Finding("service", Result.OK, f"{unit} is active")
    if shown.get("NeedDaemonReload") == "yes":
        next_ = "sudo systemctl daemon-reload"
        yield Finding(
            "service", Result.WARNING, f"{unit} has changed on disk", "systemd uses the old one", next_
        )
    if (restarts := int(shown.get("NRestarts") or 0)) > 0:
        yield Finding(
            "service", Result.WARNING, f"{unit} was restarted {restarts} times since it was started",
            "it failed or hung", f"journalctl -u {unit} -p warning",
        )  # fmt: skip


def _clock(machine: Machine) -> Iterator[Finding]:
    if time.time() < _RELEASED:
        what = f"it shows {time.strftime('%Y-%m-%d')}, before this stunwall was made"
        yield Finding("clock", Result.PROBLEM, what, "times in the record are wrong", "set it: `timedatectl`")
        return
    if SYSTEMD.is_dir() and output("timedatectl", "show", "-P", "NTPSynchronized").strip() == "no":
        why = "times in the record may be wrong, and a pause ends when the clock jumps ahead"
        yield Finding("clock", Result.NOTE, "it is not set by the network", why, "timedatectl set-ntp true")
        return
    yield Finding("clock", Result.OK, time.strftime("%Y-%m-%d %H:%M:%S %z"))


def _disk(machine: Machine) -> Iterator[Finding]:
    folder = machine.settings.state_dir
    if permissions.look(folder) is None:  # `rights` has said so
        return
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if found.f_flag & os.ST_RDONLY:
        why = "what is blocked is not recorded"
        yield Finding("disk", Result.PROBLEM, f"{folder} is on a disk that is read-only", why, "see `dmesg`")
    elif free < _LITTLE:
        result = Result.PROBLEM if free < _TOO_LITTLE else Result.WARNING
        why = "the record waits in memory once the disk is full, and is lost with the daemon"
        yield Finding("disk", result, f"{free >> 20} MiB are left for {folder}", why, "make room")
    else:
        yield Finding("disk", Result.OK, f"{free >> 20:,} MiB are left for the record")


def _record(machine: Machine) -> Iterator[Finding]:
    folder = machine.settings.state_dir
    if permissions.look(folder) is None:
        return
    try:
        with closing(RecordReader(folder)) as record:
            flows, lost = record.last_id(), record.lost()
    except RecordPermissionError:
        raise
    except RecordError as error:
        yield Finding("record", Result.WARNING, str(error))
    else:
        size = (folder / FILE).stat().st_size >> 10
        if lost:
            why = "the disk could not keep up, or was full"
            yield Finding("record", Result.WARNING, f"{lost} packets were blocked and not recorded", why)
        yield Finding("record", Result.OK, f"can be read: {flows:,} entries so far, {size:,} KiB")
    for broken in folder.glob(f"{FILE}.*.broken"):
        what = f"a damaged record was moved aside to {broken}"
        yield Finding(
            "record", Result.WARNING, what, "it has what was blocked before", "look for a failing disk"
        )


def _vpn(machine: Machine) -> Iterator[Finding]:
    if machine.daemon is None:
        return
    counting = [each for each in machine.daemon["interfaces"] if each["counts"]]
    if not counting:
        yield Finding(
            "vpn", Result.WARNING, "no interface counts as the VPN", "all STUN is blocked, and no call works",
            'connect it; if it is connected, name its interface: interfaces = ["wg0"] (`stunwall vpn` says more)',
        )  # fmt: skip
    for each in counting:
        name = each["interface"]
        if (other_programs.INTERFACES / name / "device").exists():
            yield Finding(
                "vpn", Result.WARNING, f"{name} counts as the VPN, but is a network card ({each['why']})",
                "STUN that leaves by it shows the real address", "take it out of `interfaces` in the configuration",
            )  # fmt: skip
        else:
            yield Finding("vpn", Result.OK, f"{name}: {each['why']}")
    if counting and machine.settings.mode is Mode.REDIRECT and not machine.daemon["redirects"]:
        why = "its interface has no address or default route that redirected flows could use"
        yield Finding("vpn", Result.WARNING, "nothing can be redirected into it", why, "see `stunwall vpn`")


_CHECKS: dict[str, Check] = {
    "configuration": _configuration,
    "rights": permissions.files,
    "kernel": _kernel,
    "daemon": _daemon,
    "wall": _wall,
    "queue": other_programs.queue,
    "marks": other_programs.marks,
    "neighbours": other_programs.programs,
    "service": _service,
    "clock": _clock,
    "disk": _disk,
    "record": _record,
    "vpn": _vpn,
}
