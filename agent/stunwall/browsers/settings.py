"""What policies, profiles and command lines set, and which of it a browser goes by."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from stunwall.browsers import files, levels
from stunwall.browsers.levels import Level
from stunwall.browsers.machine import Home, Installed, Machine, Profile, Running
from stunwall.browsers.table import Engine

HANDLING, HANDLING_URL = "WebRtcIPHandling", "WebRtcIPHandlingUrl"
SWITCH = "--webrtc-ip-handling-policy"
_PREFERENCE = "webrtc.ip_handling_policy"
_PREF_LINE = re.compile(r'^\s*user_pref\(\s*"([^"\\]{1,200})"\s*,\s*(true|false)\s*\)\s*;', re.ASCII)
_CHOICES = {level.value for level in levels.CHOICES}


class Kind(StrEnum):
    """Where a setting comes from; what stands first wins, measured with Chromium 156 and Firefox ESR 153."""

    MANAGED = "policy"
    EXTENSION = "extension"
    SWITCH = "command line"
    PROFILE = "profile"
    RECOMMENDED = "recommended policy"


@dataclass(frozen=True, slots=True)
class Setting:
    """A key and its value. `place` is a file, or names a process; `status` is Firefox's, in a policy."""

    kind: Kind
    place: str
    key: str
    value: Any  # JSON
    status: str = ""


@dataclass(slots=True)
class Found:
    """What was read: settings in the order in which they are read, and what is wrong with files."""

    settings: list[Setting] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class InForce:
    """What a browser goes by; `by` is what decides, None if nothing is set. `sites` are exceptions by URL pattern."""

    level: Level
    by: Setting | None
    sites: tuple[tuple[str, str], ...] = ()


def concerns_webrtc(key: str) -> bool:
    """Whether a key is about WebRTC, whether it exists or not."""
    return "webrtc" in key.lower() or key.startswith("media.peerconnection.")


def of_policies(machine: Machine, installed: Installed, home: Home | None) -> Found:
    """Return what the policies say for a user, None for one without policies of their own."""
    found = Found()
    if installed.browser.engine is Engine.CHROMIUM:
        for kind, folder in ((Kind.MANAGED, "managed"), (Kind.RECOMMENDED, "recommended")):
            # Every file, whatever its name; what comes last by name wins. Folders in it are not read.
            for path in sorted(policy_files(machine, installed, home, folder), key=lambda each: each.name):
                _chromium_policy(found, kind, path)
    else:
        for path in policy_files(machine, installed, home)[:1]:
            _firefox_policy(found, path)
    return found


def policy_files(machine: Machine, installed: Installed, home: Home | None, folder: str = "") -> list[Path]:
    """Return the policy files that a browser reads: in `folder` with Chromium, by precedence with Firefox."""
    browser = installed.browser
    places = [each for pattern in browser.policies for each in machine.found(pattern)]
    if home is not None:
        places = [each for pattern in browser.user_policies for each in machine.found(pattern, home)] + places
    if browser.engine is Engine.CHROMIUM:
        return [
            file for place in places for file in files.entries(place / folder) if not files.is_folder(file)
        ]
    own = [each for pattern in browser.bundled for each in machine.found(pattern)]
    beside = [each for each in own if installed.where.parent in each.parents]
    return places + (beside or own)


def _chromium_policy(found: Found, kind: Kind, path: Path) -> None:
    try:
        policy = files.parse(path, files.read(path), lenient=True)
    except FileNotFoundError:
        return
    except files.FileError as error:
        found.problems.append(str(error))
        return
    found.settings += [
        Setting(kind, str(path), key, value) for key, value in policy.items() if concerns_webrtc(key)
    ]


def _firefox_policy(found: Found, path: Path) -> None:
    try:
        policies = files.parse(path, files.read(path)).get("policies")
        if not isinstance(policies, dict):
            raise files.FileError(f'{path} has no object "policies", so the browser ignores it: add it')
        preferences = policies.get("Preferences", {})
        if not isinstance(preferences, dict):
            raise files.FileError(
                f'in {path}, "Preferences" is no object, so the browser ignores it: correct it'
            )
    except FileNotFoundError:
        return
    except files.FileError as error:
        found.problems.append(str(error))
        return
    found.settings += [
        Setting(Kind.MANAGED, str(path), key, value)
        for key, value in policies.items()
        if concerns_webrtc(key)
    ]
    for key, value in preferences.items():
        if concerns_webrtc(key):
            whole = value if isinstance(value, dict) else {"Value": value, "Status": "locked"}
            status = str(whole.get("Status", "default"))
            kind = Kind.RECOMMENDED if status == "default" else Kind.MANAGED
            if status != "clear":
                found.settings.append(Setting(kind, str(path), key, whole.get("Value"), status))


def of_profile(engine: Engine, profile: Profile) -> Found:
    """Return what a profile sets. What comes last wins."""
    found = Found()
    # user.js is read after prefs.js.
    names = ("prefs.js", "user.js") if engine is Engine.FIREFOX else ("Preferences",)
    for name in names:
        path = profile.folder / name
        try:
            data = files.read(path, files.PROFILE_BYTES, profile.home.uid)
            found.settings += _prefs(path, data) if engine is Engine.FIREFOX else _preferences(path, data)
        except FileNotFoundError:
            continue
        except files.FileError as error:
            found.problems.append(str(error))
    return found


def _prefs(path: Path, data: bytes) -> Iterator[Setting]:
    for line in data.decode(errors="replace").split("\n"):
        if (match := _PREF_LINE.match(line)) and concerns_webrtc(match[1]):
            yield Setting(Kind.PROFILE, str(path), match[1], match[2] == "true")


def _preferences(path: Path, data: bytes) -> Iterator[Setting]:
    preferences = files.parse(path, data)
    value = _inside(preferences, "webrtc", "ip_handling_policy")
    if value is not None:
        yield Setting(Kind.PROFILE, str(path), _PREFERENCE, value)
    extensions = _inside(preferences, "extensions", "settings")
    for name, extension in (extensions if isinstance(extensions, dict) else {}).items():
        if isinstance(wanted := _inside(extension, "preferences"), dict) and _PREFERENCE in wanted:
            yield Setting(
                Kind.EXTENSION, str(path), f"{_PREFERENCE} of extension {name}", wanted[_PREFERENCE]
            )


def _inside(value: Any, *keys: str) -> Any:  # noqa: ANN401 - it is JSON
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def of_command_line(arguments: Iterable[str], place: str) -> Iterator[Setting]:
    """Yield the switches about WebRTC in a command line, whether they exist or not."""
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name.startswith("--") and "webrtc" in name.lower():
            yield Setting(Kind.SWITCH, place, name, value)


def of_process(one: Running) -> list[Setting]:
    """Return the switches about WebRTC of a running browser."""
    return list(of_command_line(one.arguments, f"process {one.pid}"))


def in_force(engine: Engine, settings: Iterable[Setting]) -> InForce:
    """Return what a browser goes by, of all that is set."""
    match engine:
        case Engine.CHROMIUM:
            return _chromium(list(settings))
        case Engine.FIREFOX:
            return _firefox(list(settings))
        case Engine.NONE:
            return InForce(Level.OFF, None)


def _chromium(settings: list[Setting]) -> InForce:
    keys = {
        Kind.MANAGED: HANDLING,
        Kind.EXTENSION: _PREFERENCE,
        Kind.SWITCH: SWITCH,
        Kind.PROFILE: _PREFERENCE,
        Kind.RECOMMENDED: HANDLING,
    }
    by = None
    for kind, key in keys.items():
        # A value that is none of these is ignored (measured).
        valid = [
            one
            for one in settings
            if one.kind is kind and one.key.partition(" ")[0] == key and _is_level(one.value)
        ]
        if valid:
            by = valid[-1]
            break
    level = Level.DEFAULT if by is None else Level(by.value)
    lists = [
        one.value
        for one in settings
        if one.key == HANDLING_URL and one.kind is Kind.MANAGED and isinstance(one.value, list)
    ]
    return InForce(level, by, tuple(sites(lists[-1])) if lists else ())


def _is_level(value: object) -> bool:
    return isinstance(value, str) and value in _CHOICES


def sites(value: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield URL pattern and level of each exception that is well-formed."""
    for each in value:
        if isinstance(each, dict):
            url, handling = each.get("url"), each.get("handling")
            if isinstance(url, str) and _is_level(handling):
                yield url, str(handling)


def _firefox(settings: list[Setting]) -> InForce:
    order = (Kind.RECOMMENDED, Kind.PROFILE, Kind.MANAGED)
    chosen: dict[str, Setting] = {}
    for kind in order:
        chosen |= {one.key: one for one in settings if one.kind is kind and isinstance(one.value, bool)}
    level = levels.of_prefs({key: one.value for key, one in chosen.items()})
    deciding = [one for key in levels.ALL_PREFS if (one := chosen.get(key)) is not None]
    unusual = [one for one in deciding if one.value is not (one.key in (levels.ENABLED, levels.OBFUSCATE))]
    return InForce(level, next(iter(unusual or deciding), None))
