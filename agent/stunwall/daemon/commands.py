"""What the daemon does when the command asks: status, pause, resume, reload, exceptions."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from stunwall.config import EXCEPTION_KEYS, FIXED_KEYS, Config, changed_keys
from stunwall.configfile import reader
from stunwall.configfile.drop_in import DropIn
from stunwall.control.protocol import Status
from stunwall.control.server import Peer
from stunwall.model import StunwallError
from stunwall.wall.pause import Pause

_SHARED = 1.0  # seconds for which users without rights get the same status
_ALLOW_MAX = 500  # exceptions: the kernel checks each for every STUN packet outside the VPN


class CommandError(StunwallError):
    """A request that cannot be carried out; the text is sent to the client."""


class Commands:
    """Answers requests.

    `configure(config)` applies a configuration, `note(verdict, reason)` records what was done. `cgroups()` returns the
    paths of each exception's cgroups, None if it is not by program.
    """

    def __init__(
        self,
        file: Path,
        settings: Config,
        pause: Pause,
        configure: Callable[[Config], None],
        note: Callable[[str, str], None],
        status: Callable[[], Status],
        cgroups: Callable[[], list[list[str] | None]],
    ) -> None:
        self._file = file
        self._drop_in = DropIn(file)
        self._config = settings
        self._pause = pause
        self._configure = configure
        self._note = note
        self._status = status
        self._cgroups = cgroups
        self._shared: Status = {}  # the last status for those without rights
        self._shared_until = 0.0  # seconds of the monotonic clock

    def answer(self, request: dict[str, Any], peer: Peer) -> Status:
        """Return the reply to a request; an error is a reply too."""
        command = request.get("command")
        try:
            if command == "status":
                if not (peer.may_change or self._config.status_for_all):
                    raise CommandError(
                        "only root and the group stunwall may ask for the status (status_for_all = false)"
                    )
                return self._status() if peer.may_change else self._shared_status()
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
                    return self._exceptions()
                case "allow-add":
                    return self._allow_add(request)
                case "allow-remove":
                    return self._allow_remove(request)
                case _:
                    raise CommandError(
                        "unknown command. Known commands: status, pause, resume, reload, allow-list, allow-add, "
                        "allow-remove"
                    )
        except StunwallError as error:
            return {"error": str(error)}

    def _shared_status(self) -> Status:
        """Return the status, which was made within the last second: users without rights must not keep us busy."""
        now = time.monotonic()
        if now >= self._shared_until:
            self._shared, self._shared_until = self._status(), now + _SHARED
        return self._shared

    def _exceptions(self) -> Status:
        return {"allow": [rule.plain() for rule in self._config.allow], "cgroups": self._cgroups()}

    def _start_pause(self, request: dict[str, Any], peer: Peer) -> Status:
        seconds = request.get("seconds")
        if not isinstance(seconds, int) or isinstance(seconds, bool):
            raise CommandError('a pause needs "seconds", a whole number')
        self._pause.start(seconds)
        self._note("paused", f"for {seconds} s, by user {peer.uid}")
        return {"paused_until": self._pause.until}

    def _end_pause(self, peer: Peer) -> Status:
        was = self._pause.left > 0
        self._pause.end()
        if was:
            self._note("resumed", f"by user {peer.uid}")
        return {"was_paused": was}

    def _reload(self) -> Status:
        """Apply the configuration in the files: all of it, or nothing."""
        settings = reader.load(self._file)
        changed = changed_keys(self._config, settings)
        if fixed := [key for key in changed if key in FIXED_KEYS]:
            raise CommandError(
                f"nothing was changed: {', '.join(fixed)} cannot change while stunwalld runs. Restart it "
                "(`sudo systemctl restart stunwall`; the wall stays up meanwhile)"
            )
        self._configure(settings)
        self._config = settings
        return {"changed": changed}

    def _allow_add(self, request: dict[str, Any]) -> Status:
        if len(self._config.allow) >= _ALLOW_MAX:
            raise CommandError(f"there are already {_ALLOW_MAX} exceptions: remove some")
        entry = request.get("rule")
        if not isinstance(entry, dict) or not all(isinstance(v, str | int) for v in entry.values()):
            raise CommandError('an exception needs "rule", an object as in [[allow]]')
        if strange := entry.keys() - set(EXCEPTION_KEYS):  # they would be written to the file as they are
            raise CommandError(
                f"an exception has no key {min(strange)!r}. Known keys: {', '.join(EXCEPTION_KEYS)}"
            )
        self._write([*self._drop_in.entries(), entry])
        return self._exceptions()

    def _allow_remove(self, request: dict[str, Any]) -> Status:
        number = request.get("number")
        if reader.load(self._file).allow != self._config.allow:
            raise CommandError(f"{self._file} or a file in conf.d has changed: `stunwall reload` first")
        # The file of each exception in force.
        files = [each for each in reader.sources(self._file) for _ in reader.merge(Config(), each).allow]
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= len(files):
            raise CommandError(
                "there is no exception with that number: `stunwall allow list` shows the numbers"
            )
        if files[number - 1] != self._drop_in.file:
            raise CommandError(f"exception {number} is in {files[number - 1]}: remove it there")
        entries = self._drop_in.entries()
        del entries[number - 1 - files.index(self._drop_in.file)]
        self._write(entries)
        return self._exceptions()

    def _write(self, entries: list[dict[str, Any]]) -> None:
        """Replace the drop-in and put it into force; if that fails, everything is as it was."""
        before = self._drop_in.replace(entries)
        settings = replace(self._config, allow=reader.load(self._file).allow)
        try:
            self._configure(settings)
        except StunwallError:  # the kernel refuses it; at the next start it would be in the way
            self._drop_in.restore(before)
            raise
        self._config = settings
