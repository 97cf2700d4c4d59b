"""The folders of the record and the socket: created if missing, readable by the group `stunwall`."""

import grp
import os
from contextlib import suppress
from pathlib import Path

from stunwall.model import GROUP, StunwallError


def make_folder(folder: Path, mode: int) -> None:
    """Create a folder with these permissions if it does not exist. Raises StunwallError."""
    try:
        if not folder.is_dir():
            folder.mkdir(mode=mode, parents=True)
            give_to_group(folder)
    except OSError as error:
        raise StunwallError(
            f"cannot create the folder {folder}: {error.strerror}. Run as root, or set state_dir and run_dir"
        ) from error


def give_to_group(path: Path) -> None:
    """Let the group `stunwall` read. Where that group does not exist, only root can."""
    with suppress(KeyError, OSError):
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
