"""From TOML files to a Config, or an error that names file, line, key and what was expected."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from stunwall.config import ALLOW_FIELDS, NOTES, Allow, Config, Retention
from stunwall.configfile.errors import ConfigError, ConfigPermissionError
from stunwall.configfile.values import ALLOW_KEYS, KEYS, LOG_KEYS, Check, UnfitError

DEFAULT_FILE = Path("/etc/stunwall/stunwall.toml")
# The kernel's time for loading the rules grows with the square of this: 0.3 s, and 90 s with ten times as many.
MOST_EXCEPTIONS = 1000


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
        return ConfigPermissionError(f"cannot be read: {error.strerror}. Try with sudo", file)
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
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not valid TOML: {error}", file) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError("has a number of thousands of digits, or is nested too deep", file) from error
    reader = _Reader(file, text)
    allow = reader.allow(table.pop("allow", []))
    log = reader.log(table.pop("log", {}), config.log)
    merged = replace(config, **reader.values(table, KEYS, ()), log=log, allow=config.allow + allow)
    if len(merged.allow) > MOST_EXCEPTIONS:
        raise ConfigError(
            f"allow: at most {MOST_EXCEPTIONS} exceptions expected, found {len(merged.allow)} up to here. "
            "Let one stand for several, by a network in `to` or without a port",
            file,
        )
    for key in ("inside", "interfaces"):
        if key in table:
            reader.check_inside(key, merged)
    return merged


class _Reader:
    """Turns the tables of one file into values; errors name the line."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._lines = text.split("\n")  # a line of TOML's; splitlines() knows more kinds

    def values(
        self, table: Mapping[str, Any], keys: Mapping[str, Check], path: tuple[str | int, ...]
    ) -> dict[str, Any]:
        found = {}
        for key, value in table.items():
            check = keys.get(key)
            if check is None:
                raise self._error(f"unknown key. Known here: {', '.join(sorted(keys))}", (*path, key))
            try:
                found[key] = check(value)
            except UnfitError as error:
                raise self._error(f"{error} expected, found {_shown(value)}", (*path, key)) from None
        return found

    def check_inside(self, key: str, config: Config) -> None:
        """Raise if an interface is both inside and the VPN; `key` is in this file."""
        for one in config.inside:
            for other in config.interfaces:
                if fnmatchcase(one, other) or fnmatchcase(other, one):
                    raise self._error(
                        f"{one!r} in inside and {other!r} in interfaces name the same: an interface is the VPN, or "
                        "leads to machines behind this one",
                        (key,),
                    )

    def log(self, table: object, before: Retention) -> Retention:
        if not isinstance(table, dict):
            raise self._error(f"a table [log] expected, found {_shown(table)}", ("log",))
        return replace(before, **self.values(table, LOG_KEYS, ("log",)))

    def allow(self, entries: object) -> tuple[Allow, ...]:
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._error("tables [[allow]] expected", ("allow",))
        rules = []
        for number, entry in enumerate(entries):
            path: tuple[str | int, ...] = ("allow", number)
            rule = self.values(entry, ALLOW_KEYS, path)
            if "why" not in rule:
                raise self._error('needs why = "…": a reason that you will still understand in a year', path)
            if rule.keys() <= NOTES:
                others = ", ".join(key for key in ALLOW_KEYS if key not in NOTES)
                raise self._error(f"matches everything; give at least one of {others}", path)
            if "app" in rule and not ("user" in rule and "unit" not in rule):
                raise self._error('needs user = "…", whose application it is, and no unit', (*path, "app"))
            if "from" in rule and "to" in rule and rule["from"].version != rule["to"].version:
                versions = f"IPv{rule['from'].version} and IPv{rule['to'].version}"
                raise self._error(f"the IP version of to expected, found {versions}", (*path, "from"))
            rules.append(Allow(**{ALLOW_FIELDS.get(key, key): value for key, value in rule.items()}))
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
            if _key_of(line) == key:
                return at
        return None


def _key_of(line: str) -> str | None:
    """Return the key that a line begins with, None if it does with none. A key in quotes can have escapes."""
    written = re.match(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^\s=.'"#]+)\s*[.=]""", line)
    if written is None:
        return None
    try:
        return next(iter(tomllib.loads(f"{written[1]} = 0")))
    except tomllib.TOMLDecodeError:
        return None


def _shown(value: object) -> str:
    try:
        text = repr(value) if not isinstance(value, bool) else str(value).lower()
    except ValueError:  # sys.set_int_max_str_digits
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."
