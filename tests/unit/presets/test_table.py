"""presets/table.py and presets.toml: each preset fits [[allow]], is tied to its program, and says where it is from."""

import re
from datetime import date
from pathlib import Path

import pytest

from stunwall.config import Allow, Config
from stunwall.configfile import reader
from stunwall.configfile.drop_in import toml
from stunwall.configfile.values import PRESET
from stunwall.presets.places import Kind
from stunwall.presets.table import Preset, presets, unneeded
from stunwall.sockets.programs import Programs

EACH = pytest.mark.parametrize("preset", presets().values(), ids=lambda preset: preset.name)


def exceptions(preset: Preset) -> list[Allow]:
    """Its exceptions at every place, for the user 1000 where a place has a user."""
    return [place.applied(rule) for place in preset.places for rule in preset.allow] or list(preset.allow)


def test_the_presets_that_people_ask_for_are_there() -> None:
    assert list(presets()) == sorted(presets())
    wanted = (
        "coturn headscale jitsi netbird nextcloud-talk snowflake snowflake-proxy steam syncthing tailscale"
    )
    assert set(wanted.split()) <= presets().keys()
    assert list(unneeded()) == ["zerotier"]
    assert "does not use STUN" in unneeded()["zerotier"].unneeded


# Protocol, destination port and source port of each exception. Whoever widens a preset has to say so here, too.
WIDTH = {
    "coturn": [("udp", None, None), ("tcp", None, 3478), ("tcp", None, 5349)],
    "headscale": [("udp", None, 3478)],
    "jitsi": [("udp", 10000, None)],
    "jitsi-videobridge": [("udp", None, 10000), ("udp", 443, None)],
    "netbird": [("udp", None, None)],
    "netmaker": [("udp", 3478, None), ("udp", 19302, None)],
    "nextcloud-talk": [("udp", 3478, None), ("tcp", 3478, None)],
    "snowflake": [("udp", None, None)],
    "snowflake-proxy": [("udp", None, None)],
    "steam": [("udp", None, None)],
    "syncthing": [("udp", None, 22000)],
    "tailscale": [("udp", 3478, None)],
}


def test_each_preset_is_as_wide_as_its_program_needs() -> None:
    assert {
        preset.name: [(rule.protocol, rule.port, rule.source_port) for rule in preset.allow]
        for preset in presets().values()
    } == WIDTH


@EACH
def test_its_exceptions_can_be_written_to_the_configuration(preset: Preset, tmp_path: Path) -> None:
    rules = exceptions(preset)
    (tmp_path / "c.toml").write_text(toml([rule.plain() | {"user": 0} for rule in rules]))
    read = reader.merge(Config(), tmp_path / "c.toml").allow
    assert len(read) == len(rules) > 0
    assert {rule.preset for rule in read} == {preset.name}
    assert {rule.why for rule in read} == {preset.why}
    assert len(set(rules)) == len(rules)


@EACH
def test_nothing_is_allowed_by_port_or_protocol_alone(preset: Preset) -> None:
    """A page can send to any host and port: what lets every program send there shows the page the address."""
    if preset.server_named:
        assert preset.places == ()
        assert all(rule.port is not None for rule in preset.allow)
        assert preset.server in presets()
        return
    assert preset.places
    for rule in exceptions(preset):
        assert (rule.unit is None) is not (rule.app is None)
    assert all(rule.protocol is not None for rule in preset.allow)
    assert not any(set(place.name) & set("*?[/") for place in preset.places), "no globs"


@EACH
def test_no_preset_is_for_a_browser(preset: Preset) -> None:
    webrtc = Programs()
    browsers = {"firefox", "chrome", "chromium", "brave", "steamwebhelper", "epiphany"}
    assert all(name in webrtc for name in browsers)
    assert not set(preset.programs) & browsers
    assert not any(word in place.name.lower() for place in preset.places for word in browsers)


@EACH
def test_it_says_what_it_reveals_to_whom_and_where_that_is_from(preset: Preset) -> None:
    assert PRESET.fullmatch(preset.name)
    for text in (preset.title, preset.purpose, preset.why, preset.without, preset.reveals):
        assert text.isprintable()
        assert not text.endswith(".")
    assert re.match(r"(your|the) real address", preset.reveals)
    assert ", to " in preset.reveals
    assert date(2026, 11, 1) <= preset.date
    assert preset.sources
    assert all(source.startswith("https://") for source in preset.sources)


def test_the_readme_lists_exactly_the_presets() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text()
    table = re.findall(r"^\| (`.*?) \|", text.partition("\n## Presets\n")[2].partition("\n## ")[0], re.M)
    assert sorted(re.findall(r"`([^`]+)`", " ".join(table))) == list(presets())


def test_places_are_in_the_usual_order() -> None:
    syncthing = presets()["syncthing"]
    kinds = [place.kind for place in syncthing.places]
    assert kinds == [Kind.UNIT, Kind.USER_UNIT, Kind.APP, Kind.APP]
