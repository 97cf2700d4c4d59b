"""The drop-ins that the command has the daemon write: of `stunwall allow`, and of `stunwall check --every-vpn-up`."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from stunwall.config import Config
from stunwall.configfile import reader
from stunwall.configfile.errors import ConfigError
from stunwall.model import StunwallError

NAME = "90-allow.toml"
CHECK_NAME = "80-check.toml"

Entry = dict[str, Any]
"""An [[allow]] table: strings and numbers only."""


class DropInError(StunwallError):
    """What is to be written is wrong, or the drop-in cannot be written."""


class DropIn:
    """The drop-in `name` beside the configuration file `file`."""

    def __init__(self, file: Path, name: str = NAME) -> None:
        self._main = file
        self.file = file.parent / "conf.d" / name

    def entries(self) -> list[Entry]:
        """Return its exceptions, none if there is no such file. Raises ConfigError."""
        if not self.file.exists():
            return []
        return [rule.plain() for rule in reader.merge(Config(), self.file).allow]

    def replace(self, entries: list[Entry]) -> bytes | None:
        """As `write`, with these exceptions in place of its own."""
        return self.write(_text(entries))

    def write(self, text: str) -> bytes | None:
        """Replace what it says, atomically; return what was in the file, for `restore`.

        Raises DropInError: then nothing has changed.
        """
        reader.load(self._main)  # reports what is wrong in the user's own files, before anything changes
        new = self.file.with_suffix(".new")
        try:
            new.parent.mkdir(exist_ok=True)
            new.unlink(missing_ok=True)
            with new.open("xb") as file:  # never through a link that somebody has put there
                file.write(text.encode())
            new.chmod(0o644)  # as the other files: every user of the CLI reads the configuration
            reader.merge(Config(), new)  # raises what is wrong with it
            before = self.file.read_bytes() if self.file.exists() else None
            new.replace(self.file)
        except OSError as error:
            raise DropInError(f"cannot write {self.file}: {error.strerror}") from error
        except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can say
            raise DropInError("an exception is text that UTF-8 can hold") from error
        except ConfigError as error:
            raise DropInError(str(error).partition(": ")[2]) from error
        finally:
            with suppress(OSError):
                new.unlink()
        return before

    def restore(self, before: bytes | None) -> None:
        """Put back what `replace` returned."""
        with suppress(OSError):
            self.file.unlink() if before is None else self.file.write_bytes(before)


def check_text(on: bool) -> str:
    """Return what `stunwall check --every-vpn-up` writes."""
    return f"# Written by `stunwall check --every-vpn-up`.\n\ncheck_every_vpn_up = {str(on).lower()}\n"


def merged(before: list[Entry], new: list[Entry]) -> list[Entry]:
    """Return the exceptions with those of a preset, which replace older ones of that preset for the same senders.

    So nothing changes if the same ones are merged again.
    """
    wanted = [senders(entry) for entry in new]
    replaced = [entry for entry in before if "preset" in entry and senders(entry) in wanted]
    return before if replaced == new else [entry for entry in before if entry not in replaced] + new


def senders(entry: Entry) -> list[Any]:
    """Return the preset of an exception, whose packets it is about, and where they may go."""
    return [entry.get(key) for key in ("preset", "unit", "app", "user", "from", "to")]


def toml(entries: list[Entry]) -> str:
    """Return the exceptions as tables of TOML."""
    # For strings and numbers JSON is also TOML, but for one character (TOML v1.0.0, strings).
    return "\n".join(
        "[[allow]]\n" + "".join(f"{key} = {_toml(entry[key])}\n" for key in entry) for entry in entries
    )


def _text(entries: list[Entry]) -> str:
    return f"# Written by `stunwall allow`.\n\n{toml(entries)}"


def _toml(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
