"""How to get a module into the running kernel."""

import os
from pathlib import Path

_LOADED = Path("/proc/modules")  # missing in a kernel without modules
_FOLDER = Path("/lib/modules")


def gone() -> str:
    """Return what to do where the running kernel's modules are gone from the disk, "" where they are there."""
    release = os.uname().release
    if not _LOADED.exists() or (_FOLDER / release / "modules.dep").exists():
        return ""
    return (
        f"reboot, since {_FOLDER} has no modules of the running kernel {release} any more, as after an upgrade of the "
        "kernel (in a container: load the module on its host)"
    )


def how_to_load(module: str) -> str:
    """Return what to do to get a module, for the end of a sentence."""
    return gone() or (
        f"try `modprobe {module}`, or the distribution's stock kernel; some distributions ship modules in an extra "
        "package (Ubuntu: linux-modules-extra-$(uname -r))"
    )
