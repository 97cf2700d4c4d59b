"""Keys in a JSON document by their path. No I/O."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from stunwall.browsers.files import FileError


def copied(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that shares nothing."""
    value: dict[str, Any] = json.loads(json.dumps(document))
    return value


def name(path: Sequence[str]) -> str:
    """Return a key as people read it: the last part, which says enough."""
    return path[-1]


def get(document: Mapping[str, Any], path: Sequence[str]) -> tuple[bool, Any]:
    """Return whether there is such a key, and its value."""
    value: Any = document
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value


def put(file: PurePath, document: dict[str, Any], path: Sequence[str], value: Any) -> None:  # noqa: ANN401 - it is JSON
    """Set a key, with the objects that it is in. Raises FileError if one of them is something else."""
    for part in path[:-1]:
        document = document.setdefault(part, {})
        if not isinstance(document, dict):
            raise FileError(f'in {file}, "{part}" is no object, so the browser ignores it: correct it first')
    document[path[-1]] = value


def drop(document: dict[str, Any], path: Sequence[str], original: Mapping[str, Any]) -> None:
    """Remove a key, and the objects that are empty without it and were not in the original."""
    for end in range(len(path), 0, -1):
        _, inside = get(document, path[: end - 1])
        whole = end == len(path)
        if whole or (inside.get(path[end - 1]) == {} and not get(original, path[:end])[0]):
            inside.pop(path[end - 1], None)


def says_anything(document: Mapping[str, Any]) -> bool:
    """Whether there is anything but empty objects in it."""
    return any(says_anything(value) if isinstance(value, dict) else True for value in document.values())
