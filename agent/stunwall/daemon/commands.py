"""What the daemon does on request: status, pause, resume, exceptions."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from stunwall import config
from stunwall.config import Allow, Config, ConfigError
from stunwall.control.server import Peer, Status
from stunwall.model import Event, StunwallError
from stunwall.record.entry import note
from stunwall.wall.pause import Pause

DROP_IN = "90-allow.toml"
_KEYS = ("to", "port", "protocol", "user", "unit", "interface", "why")
# What a part was made with: another value needs another process.
FIXED = ("queue", "mark_mask", "state_dir", "run_dir")
_ALLOW_MAX = 500  # rules: each is looked at for every STUN packet outside the VPN


class CommandError(StunwallError):
    """A request that cannot be done; the text goes to who asked."""


class Commands:
    """Answers requests. `configure(settings)` puts a new configuration into force, `record(event)` notes events."""

    def __init__(
        self,
        file: Path,
        settings: Config,
        pause: Pause,
        configure: Callable[[Config], None],
        record: Callable[[Event], None],
        status: Callable[[], Status],
    ) -> None:
        self._file = file
        self._drop_in = file.parent / "conf.d" / DROP_IN
        self._config = settings
        self._pause = pause
        self._configure = configure
        self._record = record
        self._status = status

    def answer(self, request: dict[str, Any], peer: Peer) -> Status:
        """Return the reply to a request; an error is a reply too."""
        command = request.get("command")
        try:
            if command == "status":
                if not (peer.may_change or self._config.status_for_all):
                    raise CommandError("status is for root and the group stunwall (status_for_all = false)")
                return self._status()
            if not peer.may_change:
                raise CommandError("only root and the group stunwall may change anything")
            match command:
                case "pause":
                    return self._start_pause(request, peer)
                case "resume":
                    return self._end_pause(peer)
                case "reload":
                    return self._reload()
                case "allow-list":
                    return {"allow": [plain(rule) for rule in self._config.allow]}
                case "allow-add":
                    return self._allow_add(request)
                case "allow-remove":
                    return self._allow_remove(request)
                case _:
                    raise CommandError(
                        "unknown command; known are status, pause, resume, reload, allow-list, allow-add, "
                        "allow-remove"
                    )
        except StunwallError as error:
            return {"error": str(error)}

    def _start_pause(self, request: dict[str, Any], peer: Peer) -> Status:
        seconds = request.get("seconds")
        if not isinstance(seconds, int) or isinstance(seconds, bool):
            raise CommandError('a pause needs "seconds", a whole number')
        self._pause.start(seconds)
        self._record(note("paused", f"for {seconds} s, by user {peer.uid}"))
        return {"paused_until": self._pause.until}

    def _end_pause(self, peer: Peer) -> Status:
        was = self._pause.left > 0
        self._pause.end()
        if was:
            self._record(note("resumed", f"by user {peer.uid}"))
        return {"was_paused": was}

    def _reload(self) -> Status:
        """Put the files' configuration into force, whole or not at all."""
        settings = config.load(self._file)
        changed = config.differing(self._config, settings)
        if fixed := [key for key in changed if key in FIXED]:
            raise CommandError(
                f"nothing is changed, as {', '.join(fixed)} can't be while stunwalld runs: restart it "
                "(`sudo systemctl restart stunwall`; the wall stays up meanwhile)"
            )
        self._configure(settings)
        self._config = settings
        return {"changed": changed}

    def _allow_add(self, request: dict[str, Any]) -> Status:
        if len(self._config.allow) >= _ALLOW_MAX:
            raise CommandError(f"there are {_ALLOW_MAX} exceptions already: remove some")
        entry = request.get("rule")
        if not isinstance(entry, dict) or not all(isinstance(v, str | int) for v in entry.values()):
            raise CommandError('an exception needs "rule", an object as in [[allow]]')
        if strange := entry.keys() - set(_KEYS):  # which would stand in the file as they are
            raise CommandError(f"an exception has no {min(strange)!r}. Known are {', '.join(_KEYS)}")
        self._write([*self._dropped_in(), entry])
        return {"allow": [plain(rule) for rule in self._config.allow]}

    def _allow_remove(self, request: dict[str, Any]) -> Status:
        number = request.get("number")
        if config.load(self._file).allow != self._config.allow:
            raise CommandError(f"{self._file} or a file in conf.d has changed: `stunwall reload` first")
        # Of each exception in force the file that it stands in.
        files = [each for each in config.sources(self._file) for _ in config.merge(Config(), each).allow]
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= len(files):
            raise CommandError("there is no exception of that number: `stunwall allow list` shows them")
        if files[number - 1] != self._drop_in:
            raise CommandError(f"exception {number} stands in {files[number - 1]}: remove it there")
        entries = self._dropped_in()
        del entries[number - 1 - files.index(self._drop_in)]
        self._write(entries)
        return {"allow": [plain(rule) for rule in self._config.allow]}

    def _dropped_in(self) -> list[dict[str, Any]]:
        if not self._drop_in.exists():
            return []
        return [plain(rule) for rule in config.merge(Config(), self._drop_in).allow]

    def _write(self, entries: list[dict[str, Any]]) -> None:
        """Replace the drop-in and put it into force; if that fails, all is as it was."""
        config.load(self._file)  # tells what is wrong in the user's own files, before anything changes
        # For strings and numbers JSON is also TOML, but for one character (TOML v1.0.0, strings).
        tables = (
            "[[allow]]\n" + "".join(f"{key} = {_toml(entry[key])}\n" for key in entry) for entry in entries
        )
        text = "# Written by `stunwall allow`.\n\n" + "\n".join(tables)
        new = self._drop_in.with_suffix(".new")
        try:
            new.parent.mkdir(exist_ok=True)
            new.unlink(missing_ok=True)
            with new.open("xb") as file:  # never through a link that somebody has put there
                file.write(text.encode())
            new.chmod(0o644)  # as the other files: every reader of the CLI reads the configuration
            config.merge(Config(), new)  # raises what is wrong with it
            before = self._drop_in.read_bytes() if self._drop_in.exists() else None
            new.replace(self._drop_in)
        except OSError as error:
            raise CommandError(f"cannot write {self._drop_in}: {error.strerror}") from error
        except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can say
            raise CommandError("an exception is text that UTF-8 can hold") from error
        except ConfigError as error:
            raise CommandError(str(error).partition(": ")[2]) from error
        finally:
            with suppress(OSError):
                new.unlink()
        settings = replace(self._config, allow=config.load(self._file).allow)
        try:
            self._configure(settings)
        except StunwallError:  # the kernel refuses it; at the next start it would stand in the way
            with suppress(OSError):
                self._drop_in.unlink() if before is None else self._drop_in.write_bytes(before)
            raise
        self._config = settings


def plain(rule: Allow) -> dict[str, Any]:
    """Return an exception as it stands in TOML and JSON."""
    values = {key: getattr(rule, key) for key in _KEYS}
    return {
        key: value if isinstance(value, int) else str(value)
        for key, value in values.items()
        if value is not None
    }


def _toml(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
