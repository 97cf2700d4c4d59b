"""Which files `stunwall browsers set` writes, for which browser, with which keys."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stunwall.browsers import change, files, levels, machine, settings
from stunwall.browsers.change import Outcome
from stunwall.browsers.ledger import Ledger
from stunwall.browsers.levels import Level
from stunwall.browsers.machine import Home, Installed, Machine
from stunwall.browsers.table import Engine
from stunwall.model import StunwallError

NAME = "stunwall.json"
# https://chromeenterprise.google/policies/url-patterns/, of which only the origin counts here.
_PATTERN = re.compile(
    r"(?:https?://)?(?:\[\*\.\])?(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?",
    re.ASCII,
)


class ChoiceError(StunwallError):
    """What was asked for is not there, or cannot be done."""


def chosen(here: Machine, name: str) -> list[Installed]:
    """Return the installed browsers of a name, all of them for "". Raises ChoiceError."""
    known = dict.fromkeys(browser.browser for browser in here.table.browsers)
    if name and name not in known:
        raise ChoiceError(f"{name} is no browser that is known: take one of {', '.join(known)}")
    found = [one for one in machine.browsers(here) if name in ("", one.browser.browser)]
    if not found:
        raise ChoiceError(
            f"{name or 'no browser that is known'} is not installed: `stunwall browsers` lists those that are"
        )
    return found


def set_level(
    here: Machine, kept: Ledger, found: Sequence[Installed], level: Level, home: Home | None
) -> Outcome:
    """Set a level: for all users by policies, or with `home` for its user only. The ledger must be open."""
    done = Outcome()
    for one in found:
        if one.browser.engine is Engine.FIREFOX:
            _firefox(here, kept, one, level, home, done)
        else:
            _chromium(here, kept, one, {settings.HANDLING: level.value}, home, done)
    return done


def allow_site(here: Machine, kept: Ledger, found: Sequence[Installed], url: str, level: Level) -> Outcome:
    """Let one site have a level of its own, by policies. The ledger must be open. Raises ChoiceError."""
    pattern = origin(url)
    done = Outcome()
    for one in found:
        if one.browser.engine is Engine.FIREFOX:
            done.notes.append(
                f"{one.browser.name} has no exception for a site: its preferences hold for all of them"
            )
            continue
        entry = {"url": pattern, "handling": level.value}
        before = settings.of_policies(here, one, None).settings
        lists = [
            each.value
            for each in before
            if each.key == settings.HANDLING_URL and isinstance(each.value, list)
        ]
        others = [each for each in (lists[-1] if lists else []) if not _is_for(each, pattern)]
        # The first that matches counts.
        _chromium(here, kept, one, {settings.HANDLING_URL: [entry, *others]}, None, done)
    return done


def _is_for(entry: object, pattern: str) -> bool:
    return isinstance(entry, dict) and entry.get("url") == pattern


def origin(url: str) -> str:
    """Return the pattern of a URL: its origin. Raises ChoiceError."""
    scheme, slashes, rest = url.rpartition("://")
    pattern = f"{scheme}{slashes}{rest.partition('/')[0]}"
    if not _PATTERN.fullmatch(pattern):
        raise ChoiceError(
            f"{url} is no site: expected a URL such as https://meet.example.org, or https://[*.]example.org"
        )
    return pattern


def _chromium(
    here: Machine, kept: Ledger, one: Installed, wanted: dict[str, Any], home: Home | None, done: Outcome
) -> None:
    browser = one.browser
    folder = browser.write if home is None else browser.user_write
    if not folder or browser.engine is Engine.NONE:
        done.notes.append(_why_not(one, home))
        return
    path = here.place(folder, home) / "managed" / NAME
    if any(write.file == str(path) for write in done.writes):
        return  # packages of one browser share it
    for setting in settings.of_policies(here, one, home).settings:
        same = setting.kind is settings.Kind.MANAGED and setting.key in wanted
        if same and setting.place != str(path) and setting.value != wanted[setting.key]:
            done.failures.append(
                f"{setting.place} already sets {setting.key} for {browser.name}: change it there, or remove it"
            )
            return
    change.each(kept, done, lambda: change.put(kept, path, {(key,): value for key, value in wanted.items()}))


def _firefox(
    here: Machine, kept: Ledger, one: Installed, level: Level, home: Home | None, done: Outcome
) -> None:
    browser, prefs = one.browser, levels.prefs(level)
    if home is not None:
        profiles = [each for each in machine.profiles(here, one) if each.home == home]
        for profile in profiles:
            folder = profile.folder
            change.each(kept, done, lambda folder=folder: change.put_prefs(kept, folder, prefs))  # type: ignore[misc]
        if not profiles:
            done.notes.append(f"{browser.name}: {home.user} has no profile yet; start it once")
        return
    if not browser.write:
        done.notes.append(_why_not(one, home))
        return
    path = here.place(browser.write)
    wanted: dict[change.Place, Any] = {
        ("policies", "Preferences", name): {"Value": value, "Status": "locked"}
        for name, value in prefs.items()
    }
    change.each(kept, done, lambda: change.put(kept, path, wanted, _bundled(here, one, path, done)))


def _bundled(here: Machine, one: Installed, path: Path, done: Outcome) -> dict[str, Any]:
    """Return the policies of the package, which Firefox no longer reads once there are others. Raises FileError."""
    own = [each for each in settings.policy_files(here, one, None) if each != path]
    if path.exists() or not own:
        return {}
    try:
        policies = files.parse(own[0], files.read(own[0]))
    except FileNotFoundError:
        return {}
    done.notes.append(f"{path} begins with what {own[0]} says, which {one.browser.name} no longer reads")
    return policies


def _why_not(one: Installed, home: Home | None) -> str:
    browser = one.browser
    if browser.engine is Engine.NONE:
        return f"{browser.name} has no WebRTC: there is nothing to set"
    if home is not None:
        return (
            f"{browser.name} reads no policy from a home folder: without root, start it with "
            f"{settings.SWITCH}=LEVEL, or run this with sudo and without --user"
        )
    return f"{browser.name} was passed over, as nothing shows that a policy would count: {browser.source}"
