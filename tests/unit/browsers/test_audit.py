"""browsers/audit.py: what wins, and what is said of it, on a machine with many browsers and users."""

import os
from pathlib import Path
from typing import Any

import pytest

from stunwall.browsers import audit, files
from stunwall.browsers.contradiction import contradiction
from stunwall.browsers.levels import ADDRESS, ENABLED, NO_HOST, RELAY
from unit.browsers.fake import Fake

ONLY = "default_public_interface_only"
MANAGED = "/etc/chromium/policies/managed"
FIREFOX = "/etc/firefox/policies/policies.json"


def row(fake: Fake, browser: str = "chromium") -> dict[str, Any]:
    (found,) = (each for each in audit.plain(fake.machine)["browsers"] if each["browser"] == browser)
    return dict(found)


def findings(fake: Fake) -> list[str]:
    return [each["what"] for each in audit.plain(fake.machine)["findings"]]


def test_all_browsers_and_users_are_found(fake: Fake) -> None:
    names = (
        "chromium system",
        "chromium snap",
        "chromium flatpak",
        "chrome system",
        "brave flatpak",
        "edge system",
    )
    fake.install(*names, "firefox system", "firefox snap", "librewolf system", "zen flatpak", "tor system")
    for name in ("alice", "bob"):
        home = fake.user(name)
        fake.write(f"{home.folder.relative_to(fake.root)}/.config/chromium/Default/Preferences", {})
        fake.write(f"{home.folder.relative_to(fake.root)}/.mozilla/firefox/x.default/prefs.js")
    fake.write("/opt/Discord/resources/app.asar")
    said = audit.plain(fake.machine)
    assert len({(each["browser"], each["package"]) for each in said["browsers"]}) == 11
    users = [
        each["user"]
        for each in said["browsers"]
        if (each["browser"], each["package"]) == ("chromium", "system")
    ]
    assert users == ["alice", "bob"]
    assert [each["title"] for each in said["others"]] == ["Electron"]
    tor = row(fake, "tor")
    assert (tor["level"], tor["without_microphone"]) == ("no WebRTC", "nothing")


def test_the_order_in_which_chromium_s_settings_win(fake: Fake) -> None:
    """Measured with Chromium 156, but for extensions."""
    fake.install("chromium system")
    home = fake.user("alice").folder.relative_to(fake.root)
    assert row(fake)["by"] is None
    fake.write("/etc/chromium/policies/recommended/a.json", {"WebRtcIPHandling": ONLY})
    profile = f"{home}/.config/chromium/Default/Preferences"
    fake.write(profile, {})
    assert row(fake)["by"]["kind"] == "recommended policy"
    fake.write(profile, {"webrtc": {"ip_handling_policy": "default"}})
    assert (row(fake)["level"], row(fake)["by"]["kind"]) == ("default", "profile")
    fake.process(7, "/usr/lib/chromium/chromium", f"--webrtc-ip-handling-policy={ONLY}")
    assert (row(fake)["level"], row(fake)["by"]["kind"], row(fake)["running"]) == (ONLY, "command line", 7)
    wanted = {"extensions": {"settings": {"abc": {"preferences": {"webrtc.ip_handling_policy": "default"}}}}}
    fake.write(profile, wanted)
    assert row(fake)["by"]["kind"] == "extension"
    fake.write(f"{MANAGED}/a.json", {"WebRtcIPHandling": "disable_non_proxied_udp"})
    assert (row(fake)["level"], row(fake)["by"]["kind"]) == ("disable_non_proxied_udp", "policy")


@pytest.mark.parametrize("name", ["z.json", ".z", "z.bak"])
def test_every_file_counts_and_the_last_by_name_wins(fake: Fake, name: str) -> None:
    fake.install("chromium system")
    fake.write(f"{MANAGED}/{name}", {"WebRtcIPHandling": ONLY})
    assert row(fake)["level"] == ONLY
    fake.write(f"{MANAGED}/zz.json", '// why\n{"WebRtcIPHandling": "default", /* * */}')
    assert row(fake)["level"] == "default"
    assert any("which wins by its name" in each for each in findings(fake))
    fake.write(f"{MANAGED}/zz.json", {"WebRtcIPHandling": 2})  # ignored
    assert row(fake)["level"] == ONLY


def test_the_order_in_which_firefox_s_settings_win(fake: Fake) -> None:
    """Measured with Firefox ESR 153."""
    fake.install("firefox system")
    profile = f"{fake.user('alice').folder.relative_to(fake.root)}/.mozilla/firefox/x"
    limited = {ADDRESS: {"Value": True}, NO_HOST: {"Value": True, "Status": "default"}}
    fake.write(FIREFOX, {"policies": {"Preferences": limited}})
    fake.write(f"{profile}/prefs.js", "// nothing\n")
    assert row(fake, "firefox")["level"] == ONLY
    fake.write(f"{profile}/prefs.js", f'user_pref("{NO_HOST}", true);\nuser_pref("{ADDRESS}", true);\n')
    fake.write(f"{profile}/user.js", f'user_pref("{NO_HOST}", false);\n')
    assert row(fake, "firefox")["level"] == "default_public_and_private_interfaces"
    fake.write(FIREFOX, {"policies": {"Preferences": {NO_HOST: True}}})
    assert row(fake, "firefox")["level"] == ONLY
    fake.write(FIREFOX, {"policies": {"Preferences": {RELAY: {"Value": True, "Status": "locked"}}}})
    assert row(fake, "firefox")["level"] == "relays only"
    fake.write(FIREFOX, {"policies": {"Preferences": {ENABLED: False}}})
    assert row(fake, "firefox")["level"] == "no WebRTC"


def test_what_is_wrong_is_found(fake: Fake) -> None:
    fake.install("chromium system", "firefox system", "edge system")
    fake.write(f"{MANAGED}/a.json", {"WebRtcIPHandlingPolicy": ONLY, "DisableWebRTC": True, "WebRtcFoo": 1})
    fake.write(f"{MANAGED}/b.json", {"WebRtcLocalIpsAllowedUrls": ["*"], "WebRtcIPHandling": ONLY.upper()})
    fake.write(f"{MANAGED}/c.json", {"WebRtcIPHandlingUrl": [{"url": "x"}], "WebRtcUdpPortRange": 7})
    fake.write("/etc/chromium-browser/policies/managed/a.json", {"WebRtcIPHandling": ONLY})
    fake.write("/etc/chromium/policies/loose.json", {"WebRtcIPHandling": ONLY})
    fake.write("/etc/opt/edge/policies/managed/a.json", {"WebRtcLocalhostIpHandling": ONLY})
    fake.write(
        "/usr/lib/firefox-esr/distribution/policies.json", {"policies": {"Preferences": {NO_HOST: True}}}
    )
    fake.write(FIREFOX, {"policies": {"LegacyWebRTCApi": False, "Preferences": {NO_HOST: "yes"}}})
    fake.process(
        7,
        "/usr/lib/chromium/chromium",
        "--force-webrtc-ip-handling-policy=x",
        "--webrtc-ip-handling-policy=y",
    )
    said = "\n".join(findings(fake))
    for part in (
        "WebRtcIPHandlingPolicy: there is no such policy",
        "DisableWebRTC: there is no such policy",
        "WebRtcFoo: no such policy is known",
        "WebRtcLocalIpsAllowedUrls weakens the rest",
        "which is no level, so it is ignored",
        "WebRtcIPHandlingUrl has an entry without url or level",
        "WebRtcUdpPortRange is 7, not a string",
        "Chromium does not read this file",
        "Chromium reads only the folders managed and recommended",
        "WebRtcLocalhostIpHandling is documented for Windows and macOS only",
        "Firefox does not read this file, because",
        "LegacyWebRTCApi: no browser on Linux has such a switch",
        "is 'yes': only true and false count",
        "--force-webrtc-ip-handling-policy: it had no effect",
        "--webrtc-ip-handling-policy=y: there is no such level",
    ):
        assert part in said
    assert row(fake, "edge")["level"] == "default"


def test_a_folder_that_another_package_reads_is_not_reported(fake: Fake) -> None:
    fake.install("chromium system", "chromium snap")
    fake.write("/etc/chromium-browser/policies/managed/a.json", {"WebRtcIPHandling": ONLY})
    assert findings(fake) == []
    levels = {each["package"]: each["level"] for each in audit.plain(fake.machine)["browsers"]}
    assert levels == {"system": "default", "snap": ONLY}


HOSTILE = {
    "broken": '{"WebRtcIPHandling": ',
    "deep": "[" * 100_000,
    "list": "[]",
    "number": '{"a": ' + "9" * 5000 + "}",
    "nan": '{"a": NaN}',
    "quotes": '"\\"' * 200_000,
    "comments": "/*" * 300_000,
    "large": " " * (files.POLICY_BYTES + 1),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_reported_and_the_others_count(fake: Fake, text: str) -> None:
    fake.install("chromium system", "firefox system")
    fake.write(f"{MANAGED}/a.json", {"WebRtcIPHandling": ONLY})
    bad = fake.write(f"{MANAGED}/b.json", text)
    fake.write(FIREFOX, text)
    profile = f"{fake.user('alice').folder.relative_to(fake.root)}/.config/chromium/Default/Preferences"
    fake.write(profile, text)
    assert row(fake)["level"] == ONLY
    assert any(str(bad) in each for each in findings(fake))


def test_pipes_devices_loops_and_control_characters_do_no_harm(fake: Fake, tmp_path: Path) -> None:
    fake.install("chromium system", "firefox system")
    folder = fake.write(f"{MANAGED}/a.json", {"WebRtcIPHandling": ONLY}).parent
    os.mkfifo(folder / "fifo")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "loop").symlink_to("loop")
    (folder / "gone").symlink_to("nowhere")
    fake.write(f"{MANAGED}/b.json", {"webrtc\x1b[31m": "\x07"})
    fake.process(8, "/usr/lib/chromium/chromium", "--webrtc\x1b[31m")
    said = audit.plain(fake.machine)
    assert row(fake)["level"] == ONLY
    assert sum("is not a file" in each["what"] for each in said["findings"]) == 2


def test_another_user_s_file_is_not_read_through_a_link(fake: Fake, tmp_path: Path) -> None:
    fake.install("chromium system")
    home = fake.user("alice")
    secret = tmp_path / "secret"
    secret.write_text('{"webrtc": {"ip_handling_policy": "default"}}')
    profile = home.folder / ".config/chromium/Default"
    profile.mkdir(parents=True)
    (profile / "Preferences").symlink_to(secret)
    if os.geteuid() == 0:
        os.chown(secret, 4711, 4711)
        assert row(fake)["by"] is None
        assert any("belongs to another user" in each for each in findings(fake))


def test_what_is_in_force_in_sentences(fake: Fake) -> None:
    fake.install("chromium system")
    path = fake.write(
        f"{MANAGED}/a.json",
        {"WebRtcIPHandling": ONLY, "WebRtcIPHandlingUrl": [{"url": "a.example", "handling": "default"}]},
    )
    assert audit.in_force("/usr/lib/chromium/chromium", 0, here=fake.machine) == [
        f"Chromium goes by {ONLY}, by WebRtcIPHandling in {path} (policy).",
        "A page can learn, with the microphone or without: the public address of the default route.",
        "For a.example it goes by default.",
    ]
    assert audit.in_force("/usr/bin/python3", 0, here=fake.machine) == []


def test_an_attempt_that_the_policy_forbids_is_a_contradiction(fake: Fake) -> None:
    fake.install("chromium system")
    program, later = "/usr/lib/chromium/chromium", 1e11
    assert contradiction(fake.machine, program, 0, True, True, later) == ""
    path = fake.write(f"{MANAGED}/a.json", {"WebRtcIPHandling": ONLY})
    assert contradiction(fake.machine, program, 0, True, True, later) == (
        f"the policy {ONLY} in {path} forbids Chromium this attempt, so it was not in force: is it the wrong folder, "
        "or was the browser not restarted?"
    )
    assert contradiction(fake.machine, program, 0, True, False, later) == ""
    assert contradiction(fake.machine, program, 0, True, True, 1.0) == ""  # before there was a policy
    fake.write(f"{MANAGED}/a.json", {"WebRtcIPHandling": "disable_non_proxied_udp"})
    assert contradiction(fake.machine, program, 0, True, False, later) != ""
    assert contradiction(fake.machine, program, 0, False, False, later) == ""
