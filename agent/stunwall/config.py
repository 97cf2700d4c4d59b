"""The configuration: TOML files to a Config, or an error that names file, line, key and what was expected."""

import pwd
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from stunwall.model import StunwallError, Transport
from stunwall.stun.detect import GUARD_PORTS

DEFAULT_FILE = Path("/etc/stunwall/stunwall.toml")

Network = IPv4Network | IPv6Network

# Linux allows more in a name (net/core/dev.c, dev_valid_name), but nothing else is met in practice, and
# a name with other characters could not be told from syntax where it is put in a rule or printed.
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}")  # 15: IFNAMSIZ less the final zero
# systemd.unit(5): the characters of a unit's name; a slash between the parts of a cgroup's path.
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+(/[A-Za-z0-9:_.\\@-]+){0,15}")
_INTERFACE_GLOB = re.compile(r"[A-Za-z0-9_.:@*?\[\]!-]{1,64}")


class ConfigError(StunwallError):
    """A configuration file that cannot be used: where, what was found, what was expected."""

    exit_code = 3

    def __init__(self, message: str, file: Path, line: int | None = None) -> None:
        where = str(file) if line is None else f"{file}, line {line}"
        super().__init__(f"{where}: {message}")


class ConfigRightsError(ConfigError):
    """A configuration file that this user may not read."""

    exit_code = 4


class Mode(StrEnum):
    """What is done with STUN outside the VPN."""

    BLOCK = "block"
    REDIRECT = "redirect"


class OnBlock(StrEnum):
    """Whether a blocked request is answered with error 403 or just dropped."""

    ANSWER = "answer"
    DROP = "drop"


class WhenVpnDown(StrEnum):
    """What is done with STUN while no VPN is up."""

    BLOCK = "block"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Allow:
    """An exception of the user's: what is given must all match; `why` is mandatory.

    `user`: a user's number. `unit`: a systemd unit as `tailscaled.service`, or a cgroup's path from the root of
    the hierarchy.
    """

    why: str
    to: Network | None = None
    port: int | None = None
    protocol: Transport | None = None
    user: int | None = None
    unit: str | None = None
    interface: str | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """How long events are kept: days, and rows at most."""

    keep_days: int = 90
    keep_rows: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a user can set; the meaning of each key is in README.md."""

    mode: Mode = Mode.BLOCK
    on_block: OnBlock = OnBlock.ANSWER
    when_vpn_down: WhenVpnDown = WhenVpnDown.BLOCK
    allow_lan: bool = False
    interfaces: tuple[str, ...] = ()
    guard_ports: frozenset[int] = frozenset(GUARD_PORTS)
    leave_wall_on_stop: bool = False
    queue: int = 4780
    mark_mask: int = 0x90000000
    status_for_all: bool = False
    state_dir: Path = Path("/var/lib/stunwall")
    run_dir: Path = Path("/run/stunwall")
    log: Log = field(default_factory=Log)
    allow: tuple[Allow, ...] = ()


class _UnfitError(Exception):
    """A value that is not what its key needs; the text says what was expected."""


def is_interface(name: str) -> bool:
    """Whether a name is one that stunwall puts in a rule."""
    return _INTERFACE.fullmatch(name) is not None


def load(file: Path = DEFAULT_FILE) -> Config:
    """Read `file` and the drop-ins `conf.d/*.toml` beside it, in the order of their names.

    A later file's value replaces an earlier one's, `[[allow]]` entries add up. The default file may be
    missing; any other must exist. Raises ConfigError.
    """
    config = Config()
    for each in sources(file):
        config = merge(config, each)
    return config


def sources(file: Path) -> list[Path]:
    """Return the files that `load` reads, in their order. Raises ConfigError."""
    folder = file.parent / "conf.d"
    try:
        drop_ins = sorted(folder.iterdir())
    except FileNotFoundError:
        return [file]
    except OSError as error:
        raise _unreadable(error, folder) from error
    # A leading dot: what an editor keeps beside the file that it has open.
    return [file, *(each for each in drop_ins if each.suffix == ".toml" and not each.name.startswith("."))]


def _unreadable(error: OSError, file: Path) -> ConfigError:
    if isinstance(error, PermissionError):
        return ConfigRightsError(f"cannot be read: {error.strerror}. Try with sudo", file)
    return ConfigError(f"cannot be read: {error.strerror}. Name another with --config", file)


def merge(config: Config, file: Path) -> Config:
    """Return `config` with what one file says put over it. Raises ConfigError."""
    try:
        text = file.read_bytes().decode()
        table = tomllib.loads(text)
    except OSError as error:
        if file == DEFAULT_FILE and isinstance(error, FileNotFoundError):
            return config
        raise _unreadable(error, file) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8", file) from error
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, and a number of 5000 digits
        raise ConfigError(f"is not valid TOML: {error}", file) from error
    reader = _Reader(file, text)
    allow = reader.allow(table.pop("allow", []))
    log = reader.log(table.pop("log", {}), config.log)
    return replace(config, **reader.values(table, _KEYS, ()), log=log, allow=config.allow + allow)


def differing(one: Config, other: Config) -> list[str]:
    """Return the keys whose values differ."""
    return [key.name for key in fields(Config) if getattr(one, key.name) != getattr(other, key.name)]


class _Reader:
    """Turns one file's tables into values; knows the file, so that errors can name the line."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._lines = text.split("\n")  # a line of TOML's; splitlines() knows more kinds

    def values(
        self, table: Mapping[str, Any], keys: Mapping[str, Callable[[Any], Any]], path: tuple[str | int, ...]
    ) -> dict[str, Any]:
        found = {}
        for key, value in table.items():
            check = keys.get(key)
            if check is None:
                raise self._error(f"unknown key. Known here: {', '.join(sorted(keys))}", (*path, key))
            try:
                found[key] = check(value)
            except _UnfitError as error:
                raise self._error(f"{error} expected, found {_shown(value)}", (*path, key)) from None
        return found

    def log(self, table: object, before: Log) -> Log:
        if not isinstance(table, dict):
            raise self._error(f"a table [log] expected, found {_shown(table)}", ("log",))
        return replace(before, **self.values(table, _LOG_KEYS, ("log",)))

    def allow(self, entries: object) -> tuple[Allow, ...]:
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._error("tables [[allow]] expected", ("allow",))
        rules = []
        for number, entry in enumerate(entries):
            path: tuple[str | int, ...] = ("allow", number)
            rule = self.values(entry, _ALLOW_KEYS, path)
            if "why" not in rule:
                raise self._error('needs why = "…": a reason that you will understand in a year', path)
            if len(rule) == 1:
                others = ", ".join(key for key in _ALLOW_KEYS if key != "why")
                raise self._error(f"matches everything; give at least one of {others}", path)
            rules.append(Allow(**rule))
        return tuple(rules)

    def _error(self, message: str, path: tuple[str | int, ...]) -> ConfigError:
        parts = (part for part in path if isinstance(part, str))
        name = ".".join(part if part.isprintable() else repr(part) for part in parts)
        return ConfigError(f"{name}: {message}", self._file, self._line(path))

    def _line(self, path: tuple[str | int, ...]) -> int | None:
        """Return the line (from 1) where the key of `path` stands; tomllib keeps no positions."""
        header: str | None = None
        count = -1
        wanted = path[0] if len(path) > 1 else None
        number = path[1] if len(path) > 1 and isinstance(path[1], int) else None
        key = path[-1] if isinstance(path[-1], str) and path[-1] != wanted else None
        for at, line in enumerate(self._lines, 1):
            if match := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
                header = match[1]
                count += header == "allow"
                inside = header == wanted and number in (None, count)
                if (inside and key is None) or (wanted is None and header == key):
                    return at
                continue
            if key is None or header != wanted or number not in (None, count):
                continue
            if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", line):
                return at
        return None


def _shown(value: object) -> str:
    try:
        text = repr(value) if not isinstance(value, bool) else str(value).lower()
    except ValueError:  # sys.set_int_max_str_digits
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def _choice(kind: type[StrEnum], note: str = "") -> Callable[[Any], StrEnum]:
    def check(value: Any) -> StrEnum:  # noqa: ANN401 - any TOML value may stand here
        if isinstance(value, str) and value in list(kind):
            return kind(value)
        raise _UnfitError(" or ".join(f'"{member}"' for member in kind) + note)

    return check


def _number(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:  # noqa: ANN401
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise _UnfitError(f"a whole number from {low} to {high}")

    return check


def _flag(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bool):
        return value
    raise _UnfitError("true or false")


def _text(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str) and value.strip() and value.isprintable():
        return value
    raise _UnfitError("a text in quotes, on one line")


def _folder(value: Any) -> Path:  # noqa: ANN401
    if isinstance(value, str) and value.startswith("/") and value.isprintable():
        return Path(value)
    raise _UnfitError("an absolute path in quotes")


def _interface(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str) and is_interface(value):
        return value
    raise _UnfitError("the name of an interface, as `ip link` shows it")


def _network(value: Any) -> Network:  # noqa: ANN401
    try:
        if isinstance(value, str) and "%" not in value:  # behind it stands a zone, which is any text
            return ip_network(value)
    except ValueError as error:
        if "host bits" in str(error):
            raise _UnfitError(f'a network address ("{ip_network(value, strict=False)}" perhaps)') from None
    raise _UnfitError('an IP address or network in quotes, as "203.0.113.7" or "2001:db8::/32",')


def _globs(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    if isinstance(value, list) and all(isinstance(x, str) and _INTERFACE_GLOB.fullmatch(x) for x in value):
        if any(not glob.strip("*?") for glob in value):
            raise _UnfitError(
                "names of the VPN's interfaces, and none that fits them all, as then nothing is blocked,"
            )
        return tuple(value)
    raise _UnfitError('a list of interface names or globs, as ["wg0", "tun*"],')


def _ports(value: Any) -> frozenset[int]:  # noqa: ANN401
    check = _number(1, 65535)
    if isinstance(value, list):
        try:
            return frozenset(check(port) for port in value)
        except _UnfitError:
            pass
    raise _UnfitError("a list of ports from 1 to 65535")


def _mask(value: Any) -> int:  # noqa: ANN401
    if isinstance(value, int) and 0 < value < 1 << 32 and value.bit_count() == 2 and not value & 1:
        return value
    raise _UnfitError("a number of 32 bits of which two are set and not the lowest, as 0x90000000,")


def _user(value: Any) -> int:  # noqa: ANN401
    try:
        if isinstance(value, str):
            return pwd.getpwnam(value).pw_uid
    except (KeyError, ValueError):
        raise _UnfitError("the name of a user of this machine") from None
    return _number(0, 2**32 - 2)(value)


def _unit(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str) and _UNIT.fullmatch(value) and ".." not in value:
        return value
    raise _UnfitError('a systemd unit as "tailscaled.service", or a cgroup as "user.slice/user-1000.slice",')


_KEYS: dict[str, Callable[[Any], Any]] = {
    "mode": _choice(Mode),
    "on_block": _choice(OnBlock),
    "when_vpn_down": _choice(WhenVpnDown),
    "interfaces": _globs,
    "guard_ports": _ports,
    "allow_lan": _flag,
    "leave_wall_on_stop": _flag,
    "queue": _number(0, 65535),
    "mark_mask": _mask,
    "status_for_all": _flag,
    "state_dir": _folder,
    "run_dir": _folder,
}
_LOG_KEYS: dict[str, Callable[[Any], Any]] = {
    "keep_days": _number(1, 36500),
    "keep_rows": _number(1, 1_000_000_000),
}
_ALLOW_KEYS: dict[str, Callable[[Any], Any]] = {
    "to": _network,
    "port": _number(1, 65535),
    "protocol": _choice(Transport),
    "user": _user,
    "unit": _unit,
    "interface": _interface,
    "why": _text,
}
assert {f.name for f in fields(Config)} == {*_KEYS, "log", "allow"}  # noqa: S101 - a slip of ours, not the user's
