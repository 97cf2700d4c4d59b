"""configfile/drop_in.py: how a preset's exceptions are merged into others. daemon/test_commands.py has the rest."""

import tomllib

import pytest

from stunwall.configfile.drop_in import Entry, merged, toml

MINE: Entry = {"port": 1, "why": "mine"}
NEW: list[Entry] = [
    {"port": 3478, "unit": "a.service", "preset": "a", "why": "w"},
    {"port": 19302, "unit": "a.service", "preset": "a", "why": "w"},
]
OLD: Entry = {"port": 5, "unit": "a.service", "preset": "a", "why": "of an older version"}


def test_a_preset_is_added_to_what_is_there() -> None:
    assert merged([], NEW) == NEW
    assert merged([MINE], NEW) == [MINE, *NEW]
    same_words = [{key: value for key, value in entry.items() if key != "preset"} for entry in NEW]
    assert merged(same_words, NEW) == same_words + NEW, "what a user wrote stays"


@pytest.mark.parametrize("before", [NEW, [MINE, *NEW], [*NEW, MINE], [NEW[0], MINE, NEW[1]]])
def test_merged_twice_nothing_changes(before: list[Entry]) -> None:
    assert merged(before, NEW) is before


@pytest.mark.parametrize("before", [[OLD], [NEW[0]], [NEW[0] | {"until": 5}, NEW[1]], [*NEW, OLD]])
def test_a_preset_replaces_its_older_exceptions(before: list[Entry]) -> None:
    assert merged([MINE, *before], NEW) == [MINE, *NEW]


@pytest.mark.parametrize(
    "other",
    [{"preset": "b"}, {"unit": "b.service"}, {"user": 1000}, {"app": "a"}, {"to": "203.0.113.7/32"}],
)
def test_it_does_not_replace_those_of_other_programs_users_or_servers(other: Entry) -> None:
    assert merged([OLD | other], NEW) == [OLD | other, *NEW]


def test_exceptions_are_written_as_tables() -> None:
    assert tomllib.loads(toml([MINE, *NEW])) == {"allow": [MINE, *NEW]}
    assert toml([]) == ""
