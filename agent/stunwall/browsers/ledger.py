"""What stunwall has written into files of browsers, so that it can be taken back: `written.json` and copies.

The system's is beside the configuration, in a folder that only root can change, as root acts on what is in it.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stunwall.browsers import files

_NAME, _VERSION = "written.json", 1


@dataclass(slots=True)
class Key:
    """One key: its path in the document, what it was before stunwall wrote it first, and all that it wrote since."""

    path: list[str]
    had: bool
    before: Any
    wrote: list[Any]


@dataclass(slots=True)
class Entry:
    """One file: `copy` is what was in it before, by its name in the ledger's folder, "" if there was no file.

    `digest` is of what stunwall wrote last. `alone`: nobody else has changed the file between stunwall's writes, so
    that the copy is the whole truth. `folders` were made for the file.
    """

    copy: str = ""
    digest: str = ""
    alone: bool = True
    folders: list[str] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)


class Ledger:
    """The entries by file. Changes are on the disk when `save` returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Read it, and keep other calls out until the end. Raises FileError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise files.failed(self.folder, error) from error
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            self._read()
            yield
        finally:
            os.close(place)
            with suppress(OSError):  # nothing is in it
                self.folder.rmdir()

    def _read(self) -> None:
        path = self.folder / _NAME
        try:
            value = files.parse(path, files.read(path, owner=os.geteuid()))
            if value["version"] != _VERSION:
                raise files.FileError(f"{path} is of another version of stunwall: use that one to reset")
            self.entries = {
                name: Entry(**{**entry, "keys": [Key(**key) for key in entry["keys"]]})
                for name, entry in value["files"].items()
            }
        except FileNotFoundError:
            self.entries = {}
        except (KeyError, TypeError, AttributeError) as error:
            raise files.FileError(
                f"{path} is damaged: remove it, and the files named in it by hand"
            ) from error

    def save(self) -> None:
        """Write it; without entries, nothing of it stays. Raises FileError."""
        path = self.folder / _NAME
        if not self.entries:
            files.remove(path, [])
            return
        plain = {name: asdict(entry) for name, entry in self.entries.items()}
        files.replace(path, files.dump({"version": _VERSION, "files": plain}), 0o600)

    def begin(self, path: Path, now: bytes | None) -> Entry:
        """Return the entry of a file that is about to be written and holds `now`, made with a copy if it is new."""
        entry = self.entries.get(str(path))
        if entry is None:
            entry = self.entries[str(path)] = Entry()
            if now is not None:
                entry.copy = f"{digest(str(path).encode())[:16]}.before"
                files.replace(self.folder / entry.copy, now, 0o600)
        elif now is None or digest(now) != entry.digest:
            entry.alone = False
        return entry

    def copy(self, entry: Entry) -> bytes | None:
        """Return what was in the file before, None if there was no file. Raises FileError."""
        try:
            return files.read(self.folder / entry.copy, files.PROFILE_BYTES) if entry.copy else None
        except FileNotFoundError as error:
            raise files.FileError(f"{self.folder / entry.copy} is gone: the file before is lost") from error

    def forget(self, path: Path) -> None:
        """Drop the entry of a file, and its copy. Raises FileError."""
        entry = self.entries.pop(str(path))
        self.save()
        if entry.copy:
            files.remove(self.folder / entry.copy, [])


def digest(data: bytes) -> str:
    """Return what tells one file's contents from another's."""
    return hashlib.sha256(data).hexdigest()


def shown(had: bool, value: Any) -> str:  # noqa: ANN401 - it is JSON
    """Return a value as people read it."""
    return json.dumps(value, ensure_ascii=False) if had else "(not set)"
