"""browsers/places.toml: it says what it has to."""

import re
from collections.abc import Iterable

import pytest

from stunwall.browsers.levels import ALL_PREFS
from stunwall.browsers.table import Browser, Engine, Key, Other, Package
from unit.browsers.fake import TABLE

NAMES = {
    "chromium",
    "chrome",
    "brave",
    "vivaldi",
    "edge",
    "opera",
    "firefox",
    "librewolf",
    "mullvad",
    "tor",
    "zen",
}


def test_every_browser_is_there_in_every_package_that_matters() -> None:
    assert {row.browser for row in TABLE.browsers} == NAMES
    for name in ("chromium", "firefox"):
        assert {row.package for row in TABLE.browsers if row.browser == name} == set(Package)


def test_every_row_has_a_source_and_a_date() -> None:
    rows: list[Browser | Other | Key] = [*TABLE.browsers, *TABLE.others, *TABLE.keys]
    for row in rows:
        assert row.source
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", row.date)


@pytest.mark.parametrize("row", TABLE.browsers, ids=lambda row: f"{row.browser}-{row.package}")
def test_what_is_written_is_read(row: Browser) -> None:
    assert row.how in ("measured", "documented", "packaging", "unknown")
    if row.write:
        assert row.how != "unknown"
        assert _reads(row.policies, row.write)
    if row.user_write:
        assert _reads(row.user_policies, row.user_write)
    assert not set(row.unread) & set(row.policies)
    assert row.policies or not row.bundled
    assert "{arch}" not in str(row)


def _reads(patterns: Iterable[str], path: str) -> bool:
    return any(re.fullmatch(re.escape(each).replace(r"\*", "[^/]*"), path) for each in patterns)


def test_dead_keys_are_not_among_those_that_count() -> None:
    for dead in TABLE.dead:
        assert dead.name == dead.name.lower()
        assert dead.name not in ALL_PREFS
        for key in TABLE.keys:
            assert key.name.lower() != dead.name or key.engine != (dead.engine or key.engine)
    assert TABLE.dead_key(Engine.CHROMIUM, "WebRtcIPHandlingPolicy") is not None
    assert TABLE.dead_key(Engine.CHROMIUM, "WebRtcIPHandling") is None
