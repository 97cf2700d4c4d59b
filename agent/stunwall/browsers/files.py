"""Reads and replaces files that others may have made: of limited size, never a pipe or device, never half."""

import json
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from stunwall.model import StunwallError

POLICY_BYTES = 1 << 20
PROFILE_BYTES = 64 << 20  # Chromium's Preferences grow with the sites that were visited
ENTRIES = 1000  # of one folder


class FileError(StunwallError):
    """A file that cannot be used: why, and what to do."""


class FilePermissionError(FileError):
    """A file that this user may not read or write."""

    exit_code = 4


def read(path: Path, limit: int = POLICY_BYTES, owner: int | None = None) -> bytes:
    """Return a file's contents. With `owner`, only if it belongs to that user, whose link may lead anywhere.

    Raises FileError, and FileNotFoundError if there is none.
    """
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            found = os.fstat(place)
            if not stat.S_ISREG(found.st_mode):
                raise FileError(f"{path} is not a file: remove it")
            if owner is not None and found.st_uid != owner:
                raise FileError(f"{path} is not read: it belongs to another user, UID {found.st_uid}")
            # By the descriptor: what is at the path may have changed since.
            with Path(f"/proc/self/fd/{place}").open("rb") as file:
                data = file.read(limit + 1)
        finally:
            os.close(place)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except PermissionError as error:
        raise FilePermissionError(f"{path} cannot be read: use sudo") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise FileError(f"{path} is not read: it is larger than {limit >> 20} MiB")
    return data


def parse(path: Path, data: bytes, lenient: bool = False) -> dict[str, Any]:
    """Return the JSON object that a file holds. `lenient`: with comments and trailing commas, as Chromium takes them.

    Raises FileError.
    """
    try:
        text = data.decode("utf-8-sig" if lenient else "utf-8")
        value = json.loads(_strict(text) if lenient else text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"{path} is not valid JSON, so the browser ignores it: {_where(error)}; correct it, or remove it"
        ) from error
    if not isinstance(value, dict):
        raise FileError(f"{path} holds no JSON object, so the browser ignores it: correct it, or remove it")
    return value


def _no_number(text: str) -> float:
    raise json.JSONDecodeError(f"{text} is no number of JSON", "", 0)


def _where(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return "it is nested too deeply" if isinstance(error, RecursionError) else "a number is too long"


# A string or comment that does not end goes on to the end of the text, so that each part is read once.
_STRING = r'("(?:[^"\\]|\\.)*+(?:"|\Z))'
_COMMENTS = re.compile(_STRING + r"|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_COMMAS = re.compile(_STRING + r"|,(?=\s*+[}\]])", re.DOTALL)


def _strict(text: str) -> str:
    text = _COMMENTS.sub(lambda found: found[1] or " ", text)
    return _COMMAS.sub(lambda found: found[1] or "", text)


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder, by name, at most ENTRIES; nothing if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry, _ in zip(found, range(ENTRIES), strict=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def is_folder(path: Path) -> bool:
    """Whether there is a folder; not so if this user may not see it, as even root below another user's FUSE mount."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir() raises PermissionError before Python 3.14


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put a file in another's place at once, with its mode and owner, and make the folders that it needs.

    `mode` is for a file that was not there.

    The file is written in the folder above: in their policy folders, browsers read every file, whatever its name.
    Raises FileError: then nothing has changed, but for those folders.
    """
    made: list[Path] = []
    new = path.parent.parent / f".{path.name}.stunwall-new"
    try:
        if path.is_symlink():
            raise FileError(f"{path} is a symbolic link, so another program keeps it: set the policy there")
        made = _folders(path.parent)
        before = path.stat() if path.exists() else None
        with suppress(FileNotFoundError):
            new.unlink()
        # Never through a link that somebody has put there; and nobody else may read it before its mode is known.
        place = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(place, "wb") as file:
            if before is not None:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), mode if before is None else stat.S_IMODE(before.st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise failed(path, error) from error


def remove(path: Path, folders: list[Path]) -> None:
    """Remove a file, and of these folders those that are then empty. Raises FileError."""
    try:
        path.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise failed(path, error) from error
    for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
        with suppress(OSError):
            folder.rmdir()


def failed(path: Path, error: OSError) -> FileError:
    """Return what to say of a file or folder that cannot be written."""
    if isinstance(error, PermissionError):
        return FilePermissionError(f"permission denied: {path} cannot be written; use sudo")
    return FileError(f"cannot write {path}: {error.strerror}")


def missing(folder: Path) -> list[Path]:
    """Return the folders that have to be made for this one, which is among them; none if it is there."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def dump(value: object) -> bytes:
    """Return JSON as people write it. Raises FileError for what JSON cannot say."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise FileError(
            "a number in the file is too large to be written again: change the file by hand"
        ) from error
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can say
        return json.dumps(value, indent=2).encode() + b"\n"


def _folders(folder: Path) -> list[Path]:
    made = []
    for each in reversed(missing(folder)):
        each.mkdir(0o755)
        each.chmod(0o755)  # whatever the umask: every user's browser reads it
        made.append(each)
    return made


def _sync(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
