"""cgroup_owner.py: whose a cgroup is, by its path as systemd, desktops and container managers name them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.sockets.cgroup_owner import CgroupOwner, owner

ID = "0123456789abcdef" * 4
USER = "user.slice/user-1000.slice/user@1000.service"
UUID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("path", "unit", "app", "container"),
    [
        ("system.slice/coturn.service", "coturn.service", "", ""),
        ("system.slice/system-syncthing.slice/syncthing@alice.service", "syncthing@alice.service", "", ""),
        ("system.slice/coturn.service/workers/1", "coturn.service", "", ""),
        ("user.slice/user-1000.slice/session-2.scope", "session-2.scope", "", ""),
        (f"{USER}/app.slice/app-gnome-firefox-4711.scope", "app-gnome-firefox-4711.scope", "firefox", ""),
        (
            f"{USER}/app.slice/app-flatpak-com.discordapp.Discord-4711.scope",
            "app-flatpak-com.discordapp.Discord-4711.scope",
            "com.discordapp.Discord",
            "",
        ),
        (
            f"{USER}/app.slice/app-org.kde.falkon-4711.scope",
            "app-org.kde.falkon-4711.scope",
            "org.kde.falkon",
            "",
        ),
        (
            f"{USER}/app.slice/app-gnome-google\\x2dchrome-4711.scope",
            "app-gnome-google\\x2dchrome-4711.scope",
            "google-chrome",
            "",
        ),
        (
            f"{USER}/app.slice/app-org.gnome.Terminal@autostart.service",
            "app-org.gnome.Terminal@autostart.service",
            "org.gnome.Terminal",
            "",
        ),
        (
            f"{USER}/app.slice/dbus-:1.2-org.gnome.Epiphany@0.service",
            "dbus-:1.2-org.gnome.Epiphany@0.service",
            "org.gnome.Epiphany",
            "",
        ),
        (
            f"{USER}/app.slice/snap.firefox.firefox-{UUID}.scope",
            f"snap.firefox.firefox-{UUID}.scope",
            "firefox_firefox",
            "",
        ),
        ("system.slice/snap.lxd.daemon.service", "snap.lxd.daemon.service", "lxd_daemon", ""),
        (f"{USER}/app.slice/syncthing.service", "syncthing.service", "", ""),
        (f"{USER}/init.scope", "init.scope", "", ""),
        (f"system.slice/docker-{ID}.scope", f"docker-{ID}.scope", "", ID[:12]),
        (f"system.slice/docker-{ID}.scope/system.slice/x.service", f"docker-{ID}.scope", "", ID[:12]),
        (f"docker/{ID}", "", "", ID[:12]),
        (f"machine.slice/libpod-{ID}.scope/container", f"libpod-{ID}.scope", "", ID[:12]),
        (
            f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{ID}.scope",
            f"cri-containerd-{ID}.scope",
            "",
            ID[:12],
        ),
        ("lxc.payload.web/system.slice/nginx.service", "", "", "web"),
        ("machine.slice/systemd-nspawn@deb.service/payload", "systemd-nspawn@deb.service", "", "deb"),
        (
            "machine.slice/machine-qemu\\x2d1\\x2dwin.scope",
            "machine-qemu\\x2d1\\x2dwin.scope",
            "",
            "qemu-1-win",
        ),
        (f"kubepods/burstable/pod1/{ID}", "", "", ID[:12]),
        (f"{USER}/user.slice/libpod-{ID}.scope/container", f"libpod-{ID}.scope", "", ID[:12]),
        (
            f"{USER}/app.slice/snap.firefox.hook.configure-{UUID}.scope",
            f"snap.firefox.hook.configure-{UUID}.scope",
            "firefox",
            "",
        ),
        # What a user can name as they like is no container.
        (f"{USER}/app.slice/app-gnome-firefox-1.scope/{ID}", "app-gnome-firefox-1.scope", "firefox", ""),
        (f"{USER}/app.slice/docker-{ID}.scope", f"docker-{ID}.scope", "", ""),
        (f"{USER}/docker/{ID}", "user@1000.service", "", ""),
        ("", "", "", ""),
        ("user.slice", "", "", ""),
        ("system.slice/app-.scope", "app-.scope", "", ""),
        ("system.slice/app-a-\\x2e\\xff-1.scope", "app-a-\\x2e\\xff-1.scope", ".\ufffd", ""),
    ],
)
def test_a_path_says_whose_it_is(path: str, unit: str, app: str, container: str) -> None:
    assert owner(path) == owner(f"/{path}") == CgroupOwner(unit, app, container)


@given(st.text())
def test_any_path_is_read(path: str) -> None:
    owner(path)
