"""programs.py: which names are those of programs that do WebRTC."""

import pytest

from stunwall.sockets.programs import NAMES, Programs

# The names of their processes as `ps -o comm` shows them, cut to 15 characters: Debian's packages, snaps, Flathub's.
BROWSERS = [
    *("firefox", "firefox-esr", "firefox-bin", "GeckoMain", "Socket Process", "librewolf", "mullvadbrowser"),
    *("chromium", "chromium-browse", "chrome", "brave", "vivaldi-bin", "msedge", "opera", "zen", "zen-bin"),
    *("WebKitNetworkPr", "WebKitWebProces", "epiphany", "QtWebEngineProc"),
]
APPLICATIONS = [
    "Discord",
    "slack",
    "teams-for-linux",
    "signal-desktop",
    "element-desktop",
    "zoom",
    "electron",
    "electron30",
]
OTHERS = [
    *(
        "curl",
        "ssh",
        "wget",
        "python3",
        "bash",
        "openvpn",
        "systemd-resolve",
        "NetworkManager",
        "sshd",
        "rsync",
    ),
    *(
        "transmission-gt",
        "qbittorrent",
        "git-remote-http",
        "tailscaled",
        "",
        "f",
        "chromedriver2",
        "operator",
    ),
]


@pytest.mark.parametrize("name", [*BROWSERS, *APPLICATIONS])
def test_a_program_that_does_webrtc_is_known(name: str) -> None:
    assert name in Programs()


@pytest.mark.parametrize("name", OTHERS)
def test_another_is_not(name: str) -> None:
    assert name not in Programs()


def test_the_user_can_name_others() -> None:
    programs = Programs(["my-browser", "a-name-of-more-than-fifteen", "foo*"])
    assert "my-browser" in programs
    assert "a-name-of-more-" in programs
    assert "foobar" in programs
    assert "my-browser2" not in programs
    assert "firefox" in programs


def test_no_name_is_longer_than_the_kernels_and_none_matches_everything() -> None:
    for name in NAMES:
        assert len(name) <= 16, name
        assert len(name.strip("*")) >= 3, name
    assert len(set(NAMES)) == len(NAMES)
