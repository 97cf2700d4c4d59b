"""What a cgroup's path says of whose it is: the unit, the desktop application, the container. No I/O."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SLICE = ".slice"
_MANAGER = re.compile(r"user@\d+\.service")

# systemd.io/DESKTOP_ENVIRONMENTS, "XDG standardization for applications": app[-LAUNCHER]-ID[@RANDOM].service and
# app[-LAUNCHER]-ID-RANDOM.scope, escaped, so that an ID has no dash. Flatpak is such a launcher. dbus-broker
# (src/launch/service.c) names the units of what D-Bus starts dbus-:1.CLIENT-ID@NUMBER.service.
_APPLICATIONS = (
    re.compile(r"app(?:-[^-@]+)?-([^-@]+)(?:@.*)?\.service"),
    re.compile(r"app(?:-[^-]+)?-([^-]+)-[^-]+\.scope"),
    re.compile(r"dbus-:1\.\d+-([^@]+)@\d+\.service"),
)
# snapd (sandbox/cgroup/tracking.go): snap.SNAP.APP-UUID.scope, snap.SNAP.APP.service, snap.SNAP.hook.HOOK-UUID.scope.
# The desktop ID of an application is SNAP_APP.
_SNAP = re.compile(
    r"snap\.([^.]+)\.(hook\.)?([^.]+?)(?:-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?\.(?:scope|service)"
)

# The names that container managers give to their cgroups, as systemd's units.
_ID = "([0-9a-f]{64})"
_CONTAINERS = (
    re.compile(rf"(?:docker|libpod|crio|cri-containerd|nerdctl)-{_ID}\.scope"),
    re.compile(r"systemd-nspawn@(.+)\.service"),
    re.compile(r"machine-(.+)\.scope"),  # systemd-machined: containers, and libvirt's virtual machines
)
# The same as folders that only root makes (cgroupfs), after the path above them.
_FOLDERS = (
    re.compile(rf"docker/{_ID}"),
    re.compile(rf"libpod_parent/libpod-{_ID}"),
    re.compile(rf"kubepods(?:/[a-z]+)?/pod[^/]+/{_ID}"),
    re.compile(r"lxc\.payload\.([^/]+)"),
)
# Podman without root, below the user's manager.
_ROOTLESS = re.compile(rf"libpod-{_ID}\.scope")
_SHORT = 12  # characters of an ID, as `docker ps` shows it


@dataclass(frozen=True, slots=True)
class CgroupOwner:
    """Whose a cgroup is; each "" if its path does not say."""

    unit: str = ""
    app: str = ""
    container: str = ""


def owner(path: str) -> CgroupOwner:
    """Return whose the cgroup at a path below the root is. Users can name cgroups of their own as they like."""
    parts = path.strip("/").split("/")
    units = list(_units(parts))
    unit = units[-1] if units else ""
    return CgroupOwner(unit, _application(unit), _container(parts, units))


def _units(parts: list[str]) -> Iterator[str]:
    """Yield the unit of the system's manager, and the one of the user's manager below it."""
    for part in parts:
        if part.endswith(_SLICE):
            continue
        if part.endswith((".service", ".scope", ".socket", ".mount", ".swap")):
            yield part
        if not _MANAGER.fullmatch(part):
            return


def _application(unit: str) -> str:
    if snap := _SNAP.fullmatch(unit):
        name, hook, app = snap.groups()
        return name if hook else f"{name}_{app}"
    found = (pattern.fullmatch(unit) for pattern in _APPLICATIONS)
    return next((_unescape(match[1]) for match in found if match), "")


def _container(parts: list[str], units: list[str]) -> str:
    """Return the container; a user can give any name only to what is below their manager's unit."""
    found = [pattern.match("/".join(parts)) for pattern in _FOLDERS]
    if len(units) == 1:
        found += [pattern.fullmatch(units[0]) for pattern in _CONTAINERS]
    elif units:
        found.append(_ROOTLESS.fullmatch(units[-1]))
    name = next((_unescape(match[1]) for match in found if match), "")
    return name[:_SHORT] if re.fullmatch(_ID, name) else name


def _unescape(name: str) -> str:
    """Return what systemd-escape(1) made the name of."""
    raw = re.sub(
        rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), name.encode(errors="replace")
    )
    return raw.decode(errors="replace")
