"""The lines of Firefox's user.js and prefs.js that stunwall writes and takes back."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_BEGIN = b"// Written by `stunwall browsers set`; `stunwall browsers reset` removes it.\n"
_END = b"// End of what stunwall has written.\n"
_BLOCK = re.compile(re.escape(_BEGIN) + rb"(?:user_pref\([^\n]*\);\n)*+" + re.escape(_END))
_LINE = re.compile(
    rb'^[ \t]*user_pref\([ \t]*"([^"\\\n]{1,200})"[ \t]*,[ \t]*(true|false)[ \t]*\)[ \t]*;[^\n]*\n?',
    re.MULTILINE,
)


def values(text: bytes) -> dict[str, bool]:
    """Return the preferences that are true or false; what comes last wins."""
    return {found[1].decode(errors="replace"): found[2] == b"true" for found in _LINE.finditer(text)}


def with_block(text: bytes, wanted: Mapping[str, bool]) -> bytes:
    """Return the text with these preferences at its end, where they win, in place of those written before."""
    rest = without_block(text)
    if rest and not rest.endswith(b"\n"):
        rest += b"\n"
    lines = b"".join(_line(name, value) for name, value in wanted.items())
    return rest + _BEGIN + lines + _END


def without_block(text: bytes) -> bytes:
    """Return the text without what stunwall has written."""
    return _BLOCK.sub(b"", text)


def put_back(text: bytes, keys: Mapping[str, tuple[Sequence[bool], bool | None]]) -> bytes:
    """Return prefs.js with values as they were before: by name, all that was written, and the value before or None.

    A preference that has another value than the one that was written has been changed since, and stays.
    """

    def line(found: re.Match[bytes]) -> bytes:
        name = found[1].decode(errors="replace")
        wrote, before = keys.get(name, ((), None))
        if (found[2] == b"true") not in wrote:
            return found[0]
        return b"" if before is None else _line(name, before)

    return _LINE.sub(line, text)


def in_use(profile: Path) -> bool:
    """Whether Firefox runs with this profile: its link `lock` then names a process that is alive."""
    with suppress(OSError, ValueError):
        pid = int(str((profile / "lock").readlink()).rpartition("+")[2])  # 127.0.1.1:+4711
        return Path("/proc", str(pid)).exists()
    return False


def _line(name: str, value: bool) -> bytes:
    return f'user_pref("{name}", {str(value).lower()});\n'.encode()
