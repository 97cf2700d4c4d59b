"""How to get a module into the running kernel."""

import os
from pathlib import Path

_LOADED = Path("/proc/modules")  # missing in a kernel without modules
_FOLDER = Path("/lib/modules")


def gone() -> str:
    """Return what to do where the running kernel's modules may be gone from the disk, "" where they are there."""
    if not _LOADED.exists():
        return ""
    release = os.uname().release
    try:
        (_FOLDER / release / "modules.dep").stat()
    except PermissionError:  # the daemon's unit hides them (ProtectKernelModules=)
        return "if the kernel was upgraded since the boot, reboot; otherwise `sudo stunwall doctor` says what to do"
    except OSError:
        return (
            f"reboot, since {_FOLDER} has no modules of the running kernel {release} any more, as after an upgrade of "
            "the kernel (in a container: load the module on its host)"
        )
    return ""


def how_to_load(module: str) -> str:
    """Return what to do to get a module, for the end of a sentence."""
    return gone() or (
        f"try `modprobe {module}`, or the distribution's stock kernel; some distributions ship modules in an extra "
        "package (Ubuntu: linux-modules-extra-$(uname -r))"
    )
