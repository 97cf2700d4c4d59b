"""cli/browsers.py: what is printed, and how the commands end."""

import json
import os
import pwd
import signal
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from stunwall.browsers import change, machine
from stunwall.browsers.ledger import Ledger
from stunwall.browsers.machine import Home
from stunwall.cli import browsers
from unit.browsers.fake import Fake
from unit.cli.command import HOSTILE, Stunwall

ONLY = "default_public_interface_only"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A machine with Chromium, Firefox and a user; the commands see it in place of this one."""
    root = tmp_path / "root"
    root.mkdir()
    made = Fake(root)
    made.install("chromium system", "firefox system")
    made.user("alice")
    made.write("home/alice/.mozilla/firefox/x/prefs.js")
    monkeypatch.setattr(machine, "this_machine", lambda everyone=True: made.machine)
    monkeypatch.delenv("SUDO_UID", raising=False)
    return made


def test_the_audit_names_level_cause_and_what_a_page_learns(fake: Fake, stunwall: Stunwall) -> None:
    path = fake.write(
        "etc/chromium/policies/managed/a.json", {"WebRtcIPHandling": ONLY, "DisableWebRTC": True}
    )
    result = stunwall("browsers")
    assert result.code == 0
    assert f"Chromium  -      {ONLY}, by {path} (policy)" in result.out
    assert "Firefox   alice  default, as nothing is set" in result.out
    assert "    always: the public address of the default route\n" in result.out
    assert "1 finding:" in result.out
    assert "  Next: remove it\n" in result.out
    said = json.loads(stunwall("browsers", "--json").out)
    assert [row["level"] for row in said["browsers"]] == [ONLY, "default"]


def test_set_prints_each_change_and_reset_takes_it_back(fake: Fake, stunwall: Stunwall) -> None:
    path = fake.root / "etc/chromium/policies/managed/stunwall.json"
    result = stunwall("browsers", "set", ONLY)
    assert result.code == 0
    assert f'{path}: WebRtcIPHandling: (not set) → "{ONLY}"\n' in result.out
    assert result.out.endswith("Firefox reads this when it starts: restart it.\n")
    assert stunwall("browsers", "set", ONLY).out == f"{ONLY} was set already\n"
    assert stunwall("browsers", "site", "allow", "https://meet.example.org").code == 0
    result = stunwall("browsers", "reset")
    assert f'{path}: WebRtcIPHandling: "{ONLY}" → (not set)\n' in result.out
    assert not path.exists()
    assert stunwall("browsers", "reset").out == "nothing was set by stunwall\n"
    said: dict[str, Any] = json.loads(stunwall("browsers", "set", ONLY, "--user", "--json").out)
    assert {Path(write["file"]).name for write in said["writes"]} == {"user.js"}
    assert stunwall("browsers", "reset", "--user").code == 0


def test_a_removal_takes_back_what_users_have_set_as_these_users(
    fake: Fake, stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root, as the package does it; a link in a home must not lead root anywhere."""
    nobody = pwd.getpwnam("nobody")
    with TemporaryDirectory() as place:
        home = Home("nobody", nobody.pw_uid, Path(place))
        profile = home.folder / ".mozilla/firefox/x"
        profile.mkdir(parents=True)
        (profile / "user.js").write_text("// mine\n")
        kept = Ledger(home.folder / ".local/state/stunwall-browsers")
        with kept.open():
            change.put_prefs(kept, profile, {"media.peerconnection.ice.no_host": True})
        for path in (home.folder, *home.folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        here = replace(fake.machine, homes=(home,))
        monkeypatch.setattr(machine, "this_machine", lambda everyone=True: here)
        assert stunwall("browsers", "reset", "--everyone").code == 0
        assert (profile / "user.js").read_text() == "// mine\n"
        assert (profile / "user.js").stat().st_uid == nobody.pw_uid
        assert not (home.folder / ".local/state/stunwall-browsers").exists()


def test_what_cannot_be_done_ends_with_a_sentence(fake: Fake, stunwall: Stunwall) -> None:
    result = stunwall("browsers", "set", "legacy")
    assert (result.code, "expected one of default, default_public" in result.err) == (2, True)
    assert stunwall("browsers", "set", ONLY, "--browser", "chrome").err == (
        "stunwall: chrome is not installed: `stunwall browsers` lists those that are\n"
    )
    fake.write("etc/chromium/policies/managed/z", {"WebRtcIPHandling": "default"})
    result = stunwall("browsers", "set", ONLY, "--browser", "chromium")
    assert (result.code, "change it there, or remove it" in result.err) == (1, True)


def test_nothing_reaches_the_terminal_raw_and_names_can_be_hidden(
    fake: Fake, stunwall: Stunwall, machine: None
) -> None:
    fake.write("etc/chromium/policies/managed/a.json", {f"webrtc{HOSTILE}": HOSTILE})
    out = stunwall("browsers").out
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "alice" in out
    assert "alice" not in stunwall("browsers", "--redact").out
    assert "alice" not in stunwall("browsers", "--redact", "--json").out


def test_the_help_says_that_there_is_no_legacy_switch(stunwall: Stunwall) -> None:
    out = " ".join(stunwall("browsers", "--help").out.split())
    assert (
        'There is no switch for a "legacy WebRTC API": no browser on Linux has one, and it never hid an address.'
        in out
    )


def test_a_user_who_keeps_their_files_locked_does_not_stop_the_removal(
    fake: Fake, stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = pwd.getpwnam("nobody")
    with TemporaryDirectory() as folder:
        home = Home("nobody", nobody.pw_uid, Path(folder))
        state = home.folder / ".local/state/stunwall-browsers"
        state.mkdir(parents=True)
        monkeypatch.setattr(
            machine, "this_machine", lambda everyone=True: replace(fake.machine, homes=(home,))
        )
        monkeypatch.setattr(browsers, "_PATIENCE", 0.3)
        monkeypatch.setattr(Ledger, "open", lambda self: signal.pause())
        result = stunwall("browsers", "reset", "--everyone")
    assert (result.code, result.err) == (1, "stunwall: what nobody has set could not be taken back\n")
