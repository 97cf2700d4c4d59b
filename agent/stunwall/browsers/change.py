"""Writes policies and preferences, and takes back exactly what was written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stunwall.browsers import documents, files, userjs
from stunwall.browsers.ledger import Entry, Key, Ledger, digest, shown

Place = tuple[str, ...]  # a key's path in a document


@dataclass(frozen=True, slots=True)
class Write:
    """One key of a file that was changed; both values as people read them."""

    file: str
    key: str
    before: str
    after: str


@dataclass(slots=True)
class Outcome:
    """What was written, what else there is to know, and what could not be done."""

    writes: list[Write] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def put(
    kept: Ledger, path: Path, wanted: Mapping[Place, Any], base: Mapping[str, Any] | None = None
) -> list[Write]:
    """Set these keys of a JSON file, and keep all others. `base` is what a file that does not exist begins with.

    The ledger must be open. Raises FileError: then the file is as it was.
    """
    try:
        now = files.read(path)
        document = files.parse(path, now, lenient=True)
    except FileNotFoundError:
        now, document = None, documents.copied(base or {})
    writes, keys = [], []
    for place, value in wanted.items():
        had, before = documents.get(document, place)
        if not had or before != value:
            documents.put(path, document, place, value)
            writes.append(Write(str(path), documents.name(place), shown(had, before), shown(True, value)))
            keys.append(Key(list(place), had, before, [value]))
    if writes:
        _write(kept, path, now, files.dump(document), keys)
    return writes


def put_prefs(kept: Ledger, profile: Path, wanted: Mapping[str, bool]) -> list[Write]:
    """Set these preferences in the user.js of a Firefox profile. As `put`."""
    path = profile / "user.js"
    try:
        now: bytes | None = files.read(path, files.PROFILE_BYTES)
    except FileNotFoundError:
        now = None
    before = userjs.values(now or b"")
    saved = userjs.values(_prefs_js(profile) or b"")
    changed = {name: value for name, value in wanted.items() if before.get(name) is not value}
    if not changed:
        return []
    # What Firefox itself has kept: it copies user.js into it.
    keys = [Key([name], name in saved, saved.get(name), [value]) for name, value in wanted.items()]
    _write(kept, path, now, userjs.with_block(now or b"", wanted), keys, 0o600)
    return [
        Write(str(path), name, shown(name in before, before.get(name)), shown(True, value))
        for name, value in changed.items()
    ]


def _prefs_js(profile: Path) -> bytes | None:
    try:
        return files.read(profile / "prefs.js", files.PROFILE_BYTES)
    except FileNotFoundError:
        return None


def _write(
    kept: Ledger, path: Path, now: bytes | None, new: bytes, keys: list[Key], mode: int = 0o644
) -> None:
    """Write a file, and before it what will be needed to take that back."""
    entry = kept.begin(path, now)
    known = {tuple(key.path): key for key in entry.keys}
    for key in keys:
        if tuple(key.path) in known:
            known[tuple(key.path)].wrote += key.wrote
        else:
            entry.keys.append(key)
    entry.digest = digest(new)
    entry.folders = [*entry.folders, *(str(each) for each in files.missing(path.parent))]
    kept.save()
    files.replace(path, new, mode)


def reset(kept: Ledger) -> Outcome:
    """Take back everything in the ledger, which must be open. What could not be taken back stays in it."""
    done = Outcome()
    for name, entry in list(kept.entries.items()):
        path = Path(name)
        try:
            undo = _reset_prefs if path.name == "user.js" else _reset_json
            if undo(kept, path, entry, done):
                kept.forget(path)
        except files.FileError as error:
            done.failures.append(str(error))
    return done


def _reset_json(kept: Ledger, path: Path, entry: Entry, done: Outcome) -> bool:
    try:
        now = files.read(path)
        document = files.parse(path, now, lenient=True)
    except FileNotFoundError:
        files.remove(path, [Path(each) for each in entry.folders])
        done.notes.append(f"{path} is gone already")
        return True
    before = kept.copy(entry)
    writes, left = _keys_back(path, document, entry, before)
    if entry.alone and digest(now) == entry.digest:
        _put_back(path, before, entry)
    elif writes:
        if before is None and not documents.says_anything(document):
            files.remove(path, [Path(each) for each in entry.folders])
        else:
            files.replace(path, files.dump(document))
        done.notes.append(f"{path} was changed since: only stunwall's own keys were taken back")
    done.writes += writes
    done.notes += left
    return True


def _keys_back(
    path: Path, document: dict[str, Any], entry: Entry, before: bytes | None
) -> tuple[list[Write], list[str]]:
    """Put the values from before into the document; return what that changes, and what others have changed since."""
    original = files.parse(path, before, lenient=True) if before is not None else {}
    writes, left = [], []
    for key in entry.keys:
        place = tuple(key.path)
        now = documents.get(document, place)
        if now == (True, key.wrote[-1]):
            if key.had:
                documents.put(path, document, place, key.before)
            else:
                documents.drop(document, place, original)
            writes.append(Write(str(path), documents.name(place), shown(*now), shown(key.had, key.before)))
        elif now != (key.had, key.before):
            left.append(f"{path}: {documents.name(place)} was changed since to {shown(*now)}, and stays so")
    return writes, left


def _put_back(path: Path, before: bytes | None, entry: Entry) -> None:
    if before is None:
        files.remove(path, [Path(each) for each in entry.folders])
    else:
        files.replace(path, before)


def _reset_prefs(kept: Ledger, path: Path, entry: Entry, done: Outcome) -> bool:
    profile = path.parent
    if not profile.is_dir():
        done.notes.append(f"{profile} is gone already")
        return True
    if userjs.in_use(profile):
        raise files.FileError(f"Firefox uses {profile}: close it, then run this again")
    try:
        now = files.read(path, files.PROFILE_BYTES)
    except FileNotFoundError:
        now = b""
    if entry.alone and digest(now) == entry.digest:
        _put_back(path, kept.copy(entry), entry)
    elif (rest := userjs.without_block(now)) != now:
        files.replace(path, rest)
        done.notes.append(f"{path} was changed since: only stunwall's own lines were taken back")
    done.writes += [
        Write(str(path), key.path[0], shown(True, key.wrote[-1]), shown(False, None)) for key in entry.keys
    ]
    saved = _prefs_js(profile)
    if saved is not None:
        back = {key.path[0]: (key.wrote, key.before if key.had else None) for key in entry.keys}
        if (rest := userjs.put_back(saved, back)) != saved:
            files.replace(profile / "prefs.js", rest)
    return True


def each(kept: Ledger, done: Outcome, work: Callable[[], list[Write]]) -> None:
    """Do one file's work; what it raises is a failure among others."""
    try:
        done.writes += work()
    except files.FileError as error:
        done.failures.append(str(error))
