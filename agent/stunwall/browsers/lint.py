"""What is wrong with the policies and switches that are set: keys that do nothing, folders that nobody reads."""

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stunwall.browsers import files, levels, settings
from stunwall.browsers.machine import Home, Installed, Machine
from stunwall.browsers.settings import Kind, Setting
from stunwall.browsers.table import Engine

Seen = tuple[Installed, Home | None, Sequence[Setting], Sequence[str]]

_POLICY = (Kind.MANAGED, Kind.RECOMMENDED)
_PAGES = ("brave", "vivaldi", "edge", "opera")  # whose own pages have their own name
_LEVELS = ", ".join(levels.CHOICES)
_TYPES: dict[str, type] = {"string": str, "list": list, "boolean": bool}


class Finding(NamedTuple):
    """What is wrong, where, and what to do; `weakens`: pages learn more by it, or nothing protects from them."""

    place: str
    what: str
    next: str
    weakens: bool


class Wrong(NamedTuple):
    """A finding without its place."""

    what: str
    next: str
    weakens: bool = True


def findings(here: Machine, seen: Sequence[Seen]) -> list[Finding]:
    """Return everything that is wrong, each thing once."""
    found: dict[Finding, None] = {}
    for installed, home, everything, problems in seen:
        found |= dict.fromkeys(Finding("", problem, "", True) for problem in problems)
        found |= dict.fromkeys(_settings(here, installed, everything))
        found |= dict.fromkeys(_twice(everything))
        found |= dict.fromkeys(_unread(here, installed, [one for one, *_ in seen]))
        found |= dict.fromkeys(_files(here, installed, home))
    return list(found)


def _settings(here: Machine, installed: Installed, everything: Sequence[Setting]) -> Iterator[Finding]:
    for one in everything:
        dead = here.table.dead_key(installed.browser.keys, one.key)
        wrong: Wrong | None
        if dead is not None:
            wrong = Wrong(f"{one.key}: {dead.says}", "remove it")
        elif one.kind is Kind.SWITCH:
            wrong = _switch(one)
        elif one.kind not in _POLICY:
            wrong = None
        elif installed.browser.engine is Engine.CHROMIUM:
            wrong = _chromium(here, installed, one)
        else:
            wrong = _firefox(one)
        if wrong is not None:
            yield Finding(one.place, *wrong)


def _switch(one: Setting) -> Wrong | None:
    if one.key == settings.SWITCH and one.value not in list(levels.CHOICES):
        return Wrong(
            f"{one.key}={one.value}: there is no such level, so it is ignored", f"take one of {_LEVELS}"
        )
    return None


def _firefox(one: Setting) -> Wrong | None:
    if not one.key.startswith("media."):
        return Wrong(f"{one.key}: Firefox has no such policy, and ignores it", "remove it")
    if one.key in levels.ALL_PREFS and not isinstance(one.value, bool):
        return Wrong(f"{one.key} is {_shown(one.value)}: only true and false count", "correct it")
    if one.key in levels.ALL_PREFS and one.kind is Kind.RECOMMENDED:
        return Wrong(f"{one.key} is only a default: each user can change it", 'add "Status": "locked"', False)
    return None


def _chromium(here: Machine, installed: Installed, one: Setting) -> Wrong | None:
    browser = installed.browser
    key = here.table.key(browser.keys, one.key)
    if key is None:
        page = browser.browser if browser.browser in _PAGES else "chrome"
        return Wrong(f"{one.key}: no such policy is known", f"look on {page}://policy whether it counts")
    if browser.keys == "edge":
        return Wrong(
            f"{one.key} is documented for Windows and macOS only", f"start Edge with {settings.SWITCH}=LEVEL"
        )
    if type(one.value) is not _TYPES[key.type]:
        return Wrong(f"{one.key} is {_shown(one.value)}, not a {key.type}, so it is ignored", "correct it")
    if key.weakens and one.value:
        return Wrong(f"{one.key} weakens the rest: {key.weakens}", "remove it, unless these sites need it")
    entries = one.value if isinstance(one.value, list) else []
    if one.key == settings.HANDLING_URL and len(list(settings.sites(entries))) < len(entries):
        good = 'write {"url": "https://example.org", "handling": "default"}'
        return Wrong(f"{one.key} has an entry without url or level, so it is ignored", good)
    return _handling(one) if one.key == settings.HANDLING else None


def _handling(one: Setting) -> Wrong | None:
    if one.value not in list(levels.CHOICES):
        return Wrong(
            f"{one.key} is {_shown(one.value)}, which is no level, so it is ignored", f"take one of {_LEVELS}"
        )
    if one.value == levels.Level.PUBLIC_AND_PRIVATE:
        what = f"{one.key} is {one.value}: every page learns this machine's own address, hidden by default"
        return Wrong(what, f"take {levels.RECOMMENDED}")
    if one.kind is Kind.RECOMMENDED:
        return Wrong(
            f"{one.key} is only recommended: each user can change it", "move it to the folder managed", False
        )
    return None


def _twice(everything: Sequence[Setting]) -> Iterator[Finding]:
    last: dict[tuple[Kind, str], Setting] = {}
    for one in everything:
        if one.kind in _POLICY:
            before = last.get((one.kind, one.key))
            if before is not None and before.place != one.place:
                yield Finding(
                    before.place,
                    f"{one.key} is also set in {one.place}, which wins by its name",
                    "remove one of them",
                    before.value != one.value,
                )
            last[one.kind, one.key] = one


def _unread(here: Machine, installed: Installed, others: Sequence[Installed]) -> Iterator[Finding]:
    browser = installed.browser
    read = {path for one in others for path in one.browser.policies}
    for place in browser.unread:
        if place not in read:
            for path in _policies_in(here.place(place)):
                yield Finding(
                    str(path),
                    f"{browser.name} does not read this file",
                    f"move it to {_where(installed)}",
                    True,
                )
    for pattern in browser.policies if browser.engine is Engine.CHROMIUM else ():
        for folder in here.found(pattern):
            loose = [
                path
                for path in files.entries(folder)
                if path.name not in ("managed", "recommended", "enrollment")
            ]
            for path in (path for each in loose for path in _policies_in(each)):
                yield Finding(
                    str(path),
                    f"{browser.name} reads only the folders managed and recommended, and not this file",
                    f"move it to {_where(installed)}",
                    True,
                )


def _where(installed: Installed) -> str:
    browser = installed.browser
    managed = "/managed" if browser.engine is Engine.CHROMIUM else ""
    return (
        f"{browser.write or browser.policies[0]}{managed}"
        if browser.policies
        else "where it reads it; nobody says where that is"
    )


def _policies_in(place: Path) -> list[Path]:
    """Return the files at a place, or in it, that are about WebRTC."""
    folders = [place, place / "managed", place / "recommended"]
    found = (
        [place]
        if place.is_file()
        else [each for one in folders for each in files.entries(one) if each.is_file()]
    )
    return [path for path in found if _about_webrtc(path)]


def _about_webrtc(path: Path) -> bool:
    try:
        text = files.read(path)
    except (files.FileError, FileNotFoundError):
        return False
    return b"webrtc" in text.lower() or b"media.peerconnection." in text


def _files(here: Machine, installed: Installed, home: Home | None) -> Iterator[Finding]:
    firefox = installed.browser.engine is Engine.FIREFOX
    paths = settings.policy_files(here, installed, home, "" if firefox else "managed")
    for path in paths[1:] if firefox else ():
        if _about_webrtc(path):
            yield Finding(
                str(path),
                f"{installed.browser.name} does not read this file, because {paths[0]} exists",
                f"move what it says to {paths[0]}",
                True,
            )
    for path in paths[:1] if firefox else paths:
        try:
            found = path.stat()
        except OSError:
            continue
        if not found.st_mode & stat.S_IROTH and found.st_uid == 0:
            yield Finding(
                str(path),
                "only root can read this file, so it is not in force for others",
                f"chmod a+r {path}",
                True,
            )


def _shown(value: Any) -> str:  # noqa: ANN401 - it is JSON
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
