"""cgroup_names.py: which cgroups an exception by program means.

The names are from systemd.io/DESKTOP_ENVIRONMENTS, from bug reports of flatpak and snapd, and from machines with GNOME,
KDE and Sway.
"""

import pytest

from stunwall.config import Allow
from stunwall.wall.cgroup_names import is_fit, of_system, searches

ALICE = 1000
MANAGER = f"user.slice/user-{ALICE}.slice/user@{ALICE}.service"


def means(rule: Allow, folder: str, name: str, below: bool = False) -> bool:
    """Whether `rule` means the cgroup `name` in `folder`, or, with `below`, in a slice below it."""
    return any(
        search.folder == folder and (search.deep or not below) and search.names.fullmatch(name)
        for search in searches(rule)
    )


@pytest.mark.parametrize(
    ("app", "name"),
    [
        ("org.gnome.Evince", "app-gnome-org.gnome.Evince@12345.service"),
        ("org.gnome.Evince", "app-org.gnome.Evince-12345.scope"),
        ("org.telegram.desktop", "app-flatpak-org.telegram.desktop@12345.service"),
        ("com.discordapp.Discord", "app-flatpak-com.discordapp.Discord-4069.scope"),
        ("org.kde.okular", "app-KDE-org.kde.okular@12345.service"),
        ("org.kde.amarok", "app-org.kde.amarok.service"),
        ("org.kde.kalendarac", "app-org.kde.kalendarac@autostart.service"),
        ("org.kde.konsole", r"app-org.kde.konsole@8ae0b2f4c1d94d52a5b7e4c8c0a7a0f1.service"),
        ("google-chrome", r"app-gnome-google\x2dchrome-5321.scope"),
        ("google-chrome", r"app-google\x2dchrome@autostart.service"),
        ("foot", "app-sway-foot-1234.scope"),
        ("org.gnome.Nautilus", "dbus-:1.2-org.gnome.Nautilus@0.service"),
        ("firefox", "snap.firefox.firefox-6a1b9d2e-92a5-4e2c-8f0d-6f3f2f6e1f9a.scope"),
        ("firefox_firefox", "snap.firefox.firefox-6a1b9d2e-92a5-4e2c-8f0d-6f3f2f6e1f9a.scope"),
        ("discord", "snap.discord.discord.6a1b9d2e-92a5-4e2c-8f0d-6f3f2f6e1f9a.scope"),
    ],
)
def test_an_application_is_known_by_its_id_whoever_started_it(app: str, name: str) -> None:
    rule = Allow("w", user=ALICE, app=app)
    assert means(rule, MANAGER, name, below=True)
    assert not means(rule, "", name), "the system's manager starts no applications"
    assert not means(Allow("w", user=ALICE + 1, app=app), MANAGER, name), "another user's"


@pytest.mark.parametrize(
    ("app", "name"),
    [
        ("firefox", "app-gnome-firefox-esr-12.scope"),
        ("firefox", r"app-gnome-firefox\x2desr-12.scope"),
        ("firefox", "app-firefox-org.other.App-12.scope"),
        ("firefox", "app-gnome-org.mozilla.firefox-12.scope"),
        ("org.mozilla.firefox", "app-flatpak-org.mozilla.firefoxy-12.scope"),
        ("org.mozilla.firefox", "app-flatpak-org-mozilla.firefox-12.scope"),
        ("org.mozilla.firefox", "app-flatpak-org.mozilla.firefox-12.slice"),
        ("firefox", "snap.firefox-esr.firefox-1.scope"),
        ("firefox_other", "snap.firefox.firefox-1.scope"),
        ("gnome", "app-gnome-firefox-12.scope"),
        ("google-chrome", "app-gnome-google-chrome-12.scope"),
        ("firefox", "firefox.service"),
    ],
)
def test_another_application_is_not_taken_for_it(app: str, name: str) -> None:
    assert not means(Allow("w", user=ALICE, app=app), MANAGER, name, below=True)


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("tailscaled.service", "tailscaled.service"),
        ("syncthing@alice.service", "syncthing@alice.service"),
        ("user-1000.slice", "user-1000.slice"),
        ("app-flatpak-com.discordapp.Discord-*.scope", "app-flatpak-com.discordapp.Discord-4069.scope"),
        ("session-[0-9]*.scope", "session-12.scope"),
        (r"a\x2db@c:d.service", r"a\x2db@c:d.service"),
    ],
)
def test_a_unit_by_its_name_is_the_systems_or_with_a_user_that_users_too(unit: str, name: str) -> None:
    assert means(Allow("w", unit=unit), "", name, below=True)
    assert not means(Allow("w", unit=unit), MANAGER, name), "any user can make a cgroup of that name"
    assert means(Allow("w", unit=unit, user=ALICE), "", name, below=True)
    assert means(Allow("w", unit=unit, user=ALICE), MANAGER, name, below=True)
    assert not means(Allow("w", unit=unit), "", f"{name}x")


def test_a_path_means_one_folder_and_no_other() -> None:
    for user in (None, ALICE):
        rule = Allow("w", unit=f"{MANAGER}/app.slice/app-*.scope", user=user)
        assert means(rule, f"{MANAGER}/app.slice", "app-a-1.scope")
        assert not means(rule, f"{MANAGER}/app.slice", "app-a-1.scope", below=True)
        assert not means(rule, "", "app-a-1.scope")
        assert not means(rule, MANAGER, "app-a-1.scope")


def test_an_exception_that_is_not_by_program_means_no_cgroup() -> None:
    assert list(searches(Allow("w", user=ALICE, port=1))) == []


@pytest.mark.parametrize(
    "path",
    [
        'a"b',
        "a\nb.scope",
        "a b",
        "ä.scope",
        "a/" * 16 + "b",
        "/".join(["a" * 255] * 4),
        "",
        "a;b",
        "a{b",
        "a/$b",
    ],
)
def test_a_name_that_a_rule_cannot_have_is_not_fit(path: str) -> None:
    """Users choose names, and these end up in the text of a rule."""
    assert not is_fit(path)
    assert is_fit(f"{MANAGER}/app.slice/app-gnome-google\\x2dchrome-5321.scope")


def test_only_slices_are_above_a_unit_of_the_system() -> None:
    assert of_system("system.slice/system-syncthing.slice/syncthing@alice.service")
    assert of_system("init.scope")
    assert of_system(MANAGER)
    assert not of_system(f"{MANAGER}/app.slice/app-a-1.scope")
