"""From a TOML value to the value of a key, or UnfitError: one check per key."""

import pwd
import re
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from stunwall.config import BoundTcp, Config, Mode, Network, OnBlock, WhenVpnDown, is_interface
from stunwall.model import Transport

Check = Callable[[Any], Any]

# systemd.unit(5): the characters of a unit's name; a slash between the parts of a cgroup's path. The last part may be a
# glob. The parts above it may not: they say whose cgroup it is.
_UNIT = re.compile(r"([A-Za-z0-9:_.\\@-]+/){0,15}[A-Za-z0-9:_.\\@*?\[\]!-]+")
# A glob that any unit of some type fits.
_EVERY_UNIT = re.compile(r"[*?]+(\.[a-z*?]*)?")
# The Desktop Entry Specification's desktop file ID, without `.desktop`, of the letters that are in use.
_APP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}")
PRESET = re.compile(r"[a-z][a-z0-9-]{0,31}")
_INTERFACE_GLOB = re.compile(r'[^"/\s]{1,64}')
# What may be the name of a program's file, and a glob.
_PROGRAM = re.compile(r"[^/\x00-\x1f\x7f]{1,64}")
# Unicast: the lowest bit of the first byte is 0 (IEEE 802).
_HARDWARE = re.compile(r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}")


# Unix seconds: the kernel compares nanoseconds of 64 bits with a sign (net/netfilter/nft_meta.c).
_LATEST = (2**63 - 1) // 10**9


class UnfitError(Exception):
    """A value that does not fit its key; the text says what was expected."""


def _choice(kind: type[StrEnum], note: str = "") -> Check:
    def check(value: Any) -> StrEnum:  # noqa: ANN401 - any TOML value may stand here
        if isinstance(value, str) and value in list(kind):
            return kind(value)
        raise UnfitError(" or ".join(f'"{member}"' for member in kind) + note)

    return check


def _number(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:  # noqa: ANN401
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise UnfitError(f"a whole number from {low} to {high}")

    return check


def _flag(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bool):
        return value
    raise UnfitError("true or false")


def _text(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str) and value.strip() and value.isprintable():
        return value
    raise UnfitError("a text in quotes, on one line")


def _folder(value: Any) -> Path:  # noqa: ANN401
    if isinstance(value, str) and value.startswith("/") and value.isprintable():
        return Path(value)
    raise UnfitError("an absolute path in quotes")


def _interface(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str) and is_interface(value):
        return value
    raise UnfitError("the name of an interface, as `ip link` shows it")


def _network(value: Any) -> Network:  # noqa: ANN401
    try:
        if isinstance(value, str) and "%" not in value:  # behind it stands a zone, which is any text
            return ip_network(value)
    except ValueError as error:
        if "host bits" in str(error):
            raise UnfitError(f'a network address ("{ip_network(value, strict=False)}" perhaps)') from None
    raise UnfitError('an IP address or network in quotes, as "203.0.113.7" or "2001:db8::/32",')


def _globs(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    if isinstance(value, list) and all(isinstance(x, str) and _is_glob(x) for x in value):
        if any(not glob.strip("*?") for glob in value):
            raise UnfitError(
                "names of interfaces, not a pattern that matches every interface (nothing would be blocked),"
            )
        return tuple(value)
    raise UnfitError('a list of interface names or globs, as ["wg0", "tun*"],')


def _is_glob(text: str) -> bool:
    return _INTERFACE_GLOB.fullmatch(text) is not None and text.isprintable()


def _programs(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    if isinstance(value, list) and all(isinstance(x, str) and _PROGRAM.fullmatch(x) for x in value):
        if any(not glob.strip("*?") for glob in value):
            raise UnfitError(
                'names of programs, not a pattern that matches every one (bound_tcp = "all" does),'
            )
        return tuple(value)
    raise UnfitError('a list of program names or globs, without their folders, as ["my-browser", "foo*"],')


def _hardware_addresses(value: Any) -> frozenset[str]:  # noqa: ANN401
    if isinstance(value, list) and all(isinstance(x, str) and _HARDWARE.fullmatch(x) for x in value):
        return frozenset(x.lower() for x in value)
    raise UnfitError(
        'a list of hardware addresses of network cards, as ["52:54:00:12:34:56"], none of them a group\'s,'
    )


def _ports(value: Any) -> frozenset[int]:  # noqa: ANN401
    check = _number(1, 65535)
    if isinstance(value, list):
        try:
            return frozenset(check(port) for port in value)
        except UnfitError:
            pass
    raise UnfitError("a list of ports from 1 to 65535")


def _mask(value: Any) -> int:  # noqa: ANN401
    if isinstance(value, int) and 0 < value < 1 << 32 and value.bit_count() == 2 and not value & 1:
        return value
    raise UnfitError("a number of 32 bits of which two are set and not the lowest, as 0x90000000,")


def _user(value: Any) -> int:  # noqa: ANN401
    try:
        if isinstance(value, str):
            return pwd.getpwnam(value).pw_uid
    except (KeyError, ValueError):
        raise UnfitError("the name of a user of this machine") from None
    return _number(0, 2**32 - 2)(value)


def _unit(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str) and _UNIT.fullmatch(value) and ".." not in value:
        if _EVERY_UNIT.fullmatch(value.rpartition("/")[2]):
            raise UnfitError("the name of a unit, not a pattern that every unit matches,")
        return value
    raise UnfitError(
        'a unit as "tailscaled.service", or a cgroup as "user.slice/user-1000.slice" (* in the last part alone),'
    )


def _time(value: Any) -> int:  # noqa: ANN401
    try:
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = int(value.timestamp())
        return _number(0, _LATEST)(value)
    except (UnfitError, OverflowError):
        raise UnfitError(
            f"a time with its UTC offset, as 2026-12-24T18:00:00+01:00, or Unix seconds from 0 to {_LATEST}"
        ) from None


def _app(value: Any) -> str:  # noqa: ANN401
    name = value.removesuffix(".desktop") if isinstance(value, str) else ""
    if _APP.fullmatch(name):
        return name
    raise UnfitError('the ID of a desktop application as "com.discordapp.Discord", or the name of a snap,')


def _preset(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str) and PRESET.fullmatch(value):
        return value
    raise UnfitError("the name of a preset, as `stunwall allow preset list` shows it,")


KEYS: dict[str, Check] = {
    "mode": _choice(Mode),
    "on_block": _choice(OnBlock),
    "when_vpn_down": _choice(WhenVpnDown),
    "interfaces": _globs,
    "inside": _globs,
    "bridged": _hardware_addresses,
    "guard_ports": _ports,
    "bound_tcp": _choice(BoundTcp),
    "webrtc_programs": _programs,
    "allow_lan": _flag,
    "leave_wall_on_stop": _flag,
    "queue": _number(0, 65535),
    "mark_mask": _mask,
    "status_for_all": _flag,
    "check_every_vpn_up": _flag,
    "state_dir": _folder,
    "run_dir": _folder,
}
LOG_KEYS: dict[str, Check] = {
    "keep_days": _number(1, 36500),
    "keep_rows": _number(1, 1_000_000_000),
    "own_only": _flag,
}
ALLOW_KEYS: dict[str, Check] = {
    "to": _network,
    "port": _number(1, 65535),
    "from": _network,
    "source_port": _number(1, 65535),
    "protocol": _choice(Transport),
    "user": _user,
    "unit": _unit,
    "app": _app,
    "interface": _interface,
    "until": _time,
    "preset": _preset,
    "why": _text,
}
assert {f.name for f in fields(Config)} == {*KEYS, "log", "allow"}  # noqa: S101 - a slip of ours, not the user's
