"""browsers/targets.py, change.py, ledger.py: no other key and file is ever lost, and everything can be taken back."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stunwall.browsers import audit, change, files, targets
from stunwall.browsers.change import Outcome
from stunwall.browsers.ledger import Ledger
from stunwall.browsers.levels import ADDRESS, CHOICES, NO_HOST, PREFS, PROXY, Level
from unit.browsers.fake import Fake

ONLY = Level.PUBLIC_ONLY
CHROMIUM = "etc/chromium/policies/managed/stunwall.json"
FIREFOX = "etc/firefox/policies/policies.json"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def ledger(fake: Fake) -> Ledger:
    return Ledger(fake.root / "etc/stunwall/browsers")


def set_(fake: Fake, level: Level = ONLY, name: str = "") -> Outcome:
    kept = ledger(fake)
    with kept.open():
        return targets.set_level(fake.machine, kept, targets.chosen(fake.machine, name), level, None)


def allow(fake: Fake, url: str, name: str = "") -> Outcome:
    kept = ledger(fake)
    with kept.open():
        found = targets.chosen(fake.machine, name)
        return targets.allow_site(fake.machine, kept, found, url, Level.DEFAULT)


def reset(fake: Fake) -> Outcome:
    kept = ledger(fake)
    with kept.open():
        return change.reset(kept)


def tree(fake: Fake) -> dict[str, tuple[int, bytes]]:
    return {
        str(each): (stat.S_IMODE(each.stat().st_mode), each.read_bytes() if each.is_file() else b"")
        for each in fake.root.rglob("*")
    }


def load(fake: Fake, path: str) -> Any:
    return json.loads((fake.root / path).read_bytes())


def level(fake: Fake, browser: str) -> str:
    return str(
        next(each["level"] for each in audit.plain(fake.machine)["browsers"] if each["browser"] == browser)
    )


@pytest.fixture
def two(fake: Fake) -> Fake:
    """A machine with Chromium and Firefox, and the folder of stunwall's configuration."""
    fake.install("chromium system", "firefox system")
    fake.write("etc/stunwall/stunwall.toml")
    return fake


@pytest.mark.parametrize("wanted", CHOICES)
def test_each_level_is_in_force_once_set_and_nothing_stays_after_reset(two: Fake, wanted: Level) -> None:
    before = tree(two)
    done = set_(two, wanted)
    assert done.failures == []
    assert (level(two, "chromium"), level(two, "firefox")) == (wanted, wanted)
    assert done.writes[0] == change.Write(
        str(two.root / CHROMIUM), "WebRtcIPHandling", "(not set)", f'"{wanted}"'
    )
    assert set_(two, wanted).writes == []
    set_(two, Level.PROXIED_ONLY)
    assert reset(two).failures == []
    assert tree(two) == before
    assert not (two.root / "etc/stunwall/browsers").exists()


policies = st.dictionaries(st.text(), JSON, max_size=4)


@given(
    others=policies,
    preferences=st.dictionaries(st.text(), JSON, max_size=3),
    indent=st.sampled_from([None, 3]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_other_keys_survive_and_reset_gives_the_same_bytes(
    two: Fake, others: dict[str, Any], preferences: dict[str, Any], indent: int | None
) -> None:
    document = {"policies": others | {"Preferences": preferences}, "Comment": [1.5, "ü"]}
    path = two.write(FIREFOX, json.dumps(document, indent=indent))
    path.chmod(0o640)
    before = tree(two)
    set_(two, name="firefox")
    # The copy may hold what only a group may read.
    private = [stat.S_IMODE(each.stat().st_mode) for each in (two.root / "etc/stunwall/browsers").iterdir()]
    assert private == [0o600] * 2
    now = load(two, FIREFOX)
    for name in PREFS:
        assert now["policies"]["Preferences"].pop(name)["Status"] == "locked"
    expected = json.loads(json.dumps(document))
    for name in PREFS:
        expected["policies"]["Preferences"].pop(name, None)
    assert now == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    reset(two)
    assert tree(two) == before


@given(added=st.dictionaries(st.text(), JSON, max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_others_add_later_stays(two: Fake, added: dict[str, Any]) -> None:
    for key in ("policies", "WebRtcIPHandling"):
        added.pop(key, None)
    for path in (FIREFOX, CHROMIUM):
        (two.root / path).unlink(missing_ok=True)
    set_(two)
    for path in (FIREFOX, CHROMIUM):
        two.write(path, load(two, path) | added)
    set_(two, Level.DEFAULT)  # must not take the others' keys for its own
    done = reset(two)
    assert done.failures == []
    for path in (FIREFOX, CHROMIUM):
        left = load(two, path) if (two.root / path).exists() else {}
        assert left == added or not left


def test_a_key_that_was_changed_since_stays_and_is_named(two: Fake) -> None:
    two.write(FIREFOX, {"policies": {"Preferences": {ADDRESS: True}}})
    set_(two)
    now = load(two, FIREFOX)
    now["policies"]["Preferences"][NO_HOST] = {"Value": True, "Status": "default"}
    two.write(FIREFOX, now)
    done = reset(two)
    assert any(f"{NO_HOST} was changed since to" in each for each in done.notes)
    assert load(two, FIREFOX) == {
        "policies": {"Preferences": {ADDRESS: True, NO_HOST: {"Value": True, "Status": "default"}}}
    }
    assert not (two.root / "etc/stunwall/browsers").exists()


def test_a_file_that_is_gone_is_no_failure(two: Fake) -> None:
    set_(two)
    (two.root / CHROMIUM).unlink()
    done = reset(two)
    assert done.failures == []
    assert f"{two.root / CHROMIUM} is gone already" in done.notes


def test_another_file_that_sets_the_key_is_never_overruled(two: Fake) -> None:
    path = two.write("etc/chromium/policies/managed/admin.json", {"WebRtcIPHandling": "default"})
    before = path.read_bytes()
    done = set_(two, name="chromium")
    assert done.failures == [
        f"{path} already sets WebRtcIPHandling for Chromium: change it there, or remove it"
    ]
    assert done.writes == []
    assert path.read_bytes() == before


def test_firefox_s_own_policies_are_copied_as_they_are_no_longer_read(two: Fake) -> None:
    own = {"policies": {"DisableAppUpdate": True}}
    two.write("/usr/lib/firefox-esr/distribution/policies.json", own)
    done = set_(two, name="firefox")
    assert "which Firefox no longer reads" in done.notes[0]
    assert load(two, FIREFOX)["policies"]["DisableAppUpdate"] is True
    reset(two)
    assert not (two.root / "etc/firefox").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"policies": 7}', '{"policies": {"Preferences": []}}', "\xff"])
def test_a_file_that_is_not_understood_is_left_alone(two: Fake, text: str) -> None:
    path = two.write(FIREFOX, text)
    before = path.read_bytes()
    done = set_(two, name="firefox")
    assert len(done.failures) == 1
    assert str(path) in done.failures[0]
    assert path.read_bytes() == before


def test_a_link_is_not_written_through(two: Fake, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("{}")
    (two.root / "etc/firefox/policies").mkdir(parents=True)
    (two.root / FIREFOX).symlink_to(target)
    assert "is a symbolic link" in set_(two, name="firefox").failures[0]
    assert target.read_text() == "{}"


def test_a_write_that_fails_changes_nothing(two: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    two.write(FIREFOX, {"policies": {}})
    before = (two.root / FIREFOX).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    kept = ledger(two)
    with kept.open(), monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        done = targets.set_level(two.machine, kept, targets.chosen(two.machine, "firefox"), ONLY, None)
    assert "No space left" in done.failures[0]
    assert (two.root / FIREFOX).read_bytes() == before
    assert not list(two.root.rglob("*stunwall-new*"))


def test_killed_between_ledger_and_file_nothing_is_lost(two: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    path = two.write(FIREFOX, {"policies": {"A": 1}})
    before = path.read_bytes()
    kept = ledger(two)
    write = files.replace

    def killed(place: Path, data: bytes, mode: int = 0o644) -> None:
        if place == path:
            raise KeyboardInterrupt
        write(place, data, mode)

    with pytest.raises(KeyboardInterrupt), kept.open(), monkeypatch.context() as patched:
        patched.setattr(files, "replace", killed)
        targets.set_level(two.machine, kept, targets.chosen(two.machine, "firefox"), ONLY, None)
    assert reset(two).failures == []
    assert path.read_bytes() == before


def test_a_ledger_of_the_first_version_can_be_reset(two: Fake) -> None:
    """As it was written on 2026-11-27: what a later stunwall has to understand."""
    path = two.write(CHROMIUM, '{\n  "WebRtcIPHandling": "default_public_interface_only"\n}\n')
    key = {"path": ["WebRtcIPHandling"], "had": False, "before": None, "wrote": [ONLY]}
    entry = {"copy": "", "digest": "x", "alone": True, "folders": [str(path.parent)], "keys": [key]}
    two.write("etc/stunwall/browsers/written.json", {"version": 1, "files": {str(path): entry}})
    assert reset(two).failures == []
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "text", ["{", '{"version": 2}', '{"version": 1, "files": {"x": {}}, "y": 1}', "[]", '{"version": 1}']
)
def test_a_damaged_ledger_is_an_error(two: Fake, text: str) -> None:
    two.write("etc/stunwall/browsers/written.json", text)
    with pytest.raises(files.FileError, match=r"written\.json"):
        reset(two)


def test_a_site_is_the_first_of_its_list_and_is_there_once(two: Fake) -> None:
    before = tree(two)
    set_(two)
    done = allow(two, "https://meet.example.org/room/7?x#y")
    assert "Firefox has no exception for a site: its preferences hold for all of them" in done.notes
    allow(two, "https://a.example")
    allow(two, "https://meet.example.org")
    assert load(two, CHROMIUM)["WebRtcIPHandlingUrl"] == [
        {"url": "https://meet.example.org", "handling": "default"},
        {"url": "https://a.example", "handling": "default"},
    ]
    reset(two)
    assert tree(two) == before


@pytest.mark.parametrize(
    "url", ["*", "https://*", "", "https://", "javascript:alert(1)", "a b", "x\n", "[*.]", "https://u@x"]
)
def test_what_is_no_site_is_refused(url: str) -> None:
    with pytest.raises(targets.ChoiceError):
        targets.origin(url)


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        ("https://meet.example.org/room/7?x#y", "https://meet.example.org"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://[2001:db8::1]:443/x", "https://[2001:db8::1]:443"),
        ("https://[*.]example.org", "https://[*.]example.org"),
        ("example.org/a", "example.org"),
    ],
)
def test_only_the_origin_of_a_site_counts(url: str, pattern: str) -> None:
    assert targets.origin(url) == pattern


def test_browsers_that_nobody_knows_a_policy_of_are_passed_over(fake: Fake) -> None:
    fake.install("vivaldi system", "tor system", "edge system", "opera system", "mullvad system")
    fake.write("etc/stunwall/x")
    before = tree(fake)
    done = set_(fake)
    assert (done.writes, len(done.notes)) == ([], 5)
    assert tree(fake) == before
    with pytest.raises(targets.ChoiceError, match="not installed"):
        targets.chosen(fake.machine, "chrome")
    with pytest.raises(targets.ChoiceError, match="no browser that is known"):
        targets.chosen(fake.machine, "lynx")


def test_a_user_s_own_firefox(two: Fake) -> None:
    home = two.user("alice")
    profile = home.folder / ".mozilla/firefox/x.default"
    two.write(
        str(profile.relative_to(two.root) / "prefs.js"),
        f'user_pref("{NO_HOST}", true);\nuser_pref("a", 1);\n',
    )
    two.write(str(profile.relative_to(two.root) / "user.js"), '// mine\nuser_pref("b", 2);')
    before = tree(two)

    def run(wanted: Level) -> Outcome:
        kept = Ledger(home.folder / ".local/state/stunwall-browsers")
        with kept.open():
            return targets.set_level(two.machine, kept, targets.chosen(two.machine, ""), wanted, home)

    done = run(ONLY)
    assert "Chromium reads no policy from a home folder" in done.notes[0]
    assert level(two, "firefox") == ONLY
    # Firefox copies user.js into prefs.js when it starts.
    with (profile / "prefs.js").open("a") as file:
        file.write(f'user_pref("{ADDRESS}", true);\nuser_pref("{PROXY}", false);\n')
    run(Level.DEFAULT)
    kept = Ledger(home.folder / ".local/state/stunwall-browsers")
    (profile / "lock").symlink_to(f"127.0.1.1:+{os.getpid()}")
    with kept.open():
        assert "close it" in change.reset(kept).failures[0]
        (profile / "lock").unlink()
        assert change.reset(kept).failures == []
    after = {name: what for name, what in tree(two).items() if "/.local" not in name}
    assert after == before


def test_chromium_from_flatpak_takes_a_user_s_policy(fake: Fake) -> None:
    fake.install("chromium flatpak")
    home = fake.user("alice")
    fake.write("home/alice/.var/app/org.chromium.Chromium/config/chromium/Default/Preferences", {})
    kept = Ledger(home.folder / ".local/state/stunwall-browsers")
    with kept.open():
        done = targets.set_level(fake.machine, kept, targets.chosen(fake.machine, ""), ONLY, home)
    assert len(done.writes) == 1
    assert level(fake, "chromium") == ONLY
