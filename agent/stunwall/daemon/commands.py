"""What the daemon does when the command asks: status, pause, resume, reload, exceptions, results of checks."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from stunwall.config import EXCEPTION_KEYS, FIXED_KEYS, NOTES, Allow, Config, changed_keys
from stunwall.configfile import reader
from stunwall.configfile.drop_in import CHECK_NAME, DropIn, Entry, check_text, merged
from stunwall.control.held import Hold
from stunwall.control.peer import Peer
from stunwall.control.prompts import MEMBER, ROOT, Author, Authorize, author
from stunwall.control.protocol import Status
from stunwall.control.server import Later, Reply, Subscribe
from stunwall.daemon import proofs
from stunwall.daemon.events import PAGE, page
from stunwall.daemon.proofs import CheckResults
from stunwall.model import LEAK, StunwallError
from stunwall.polkit import ALLOW, PAUSE, RELOAD
from stunwall.text import date_time
from stunwall.wall.pause import Pause

_SHARED = 1.0  # seconds for which users without rights get the same status
_ID_MAX = 2**63 - 1  # SQLite's integers have 64 bits
# What all users may ask for with status_for_all: of the record, their own.
_READING = {
    "status": "status",
    "events": "events",
    "subscribe": "events",
    "check": "status",
    "check-begin": "status",
    "check-done": "status",
}
_TIME_MAX = 2**33  # Unix seconds: a later time is no time that anybody means
_ALLOW_MAX = 500  # exceptions: the kernel checks each for every STUN packet outside the VPN
_PRESET_MAX = 32  # exceptions that are asked for at once: polkit's dialogue names them all


class CommandError(StunwallError):
    """A request that cannot be carried out; the text is sent to the client."""


class Commands:
    """Answers requests.

    `configure(config)` applies a configuration, `note(verdict, reason, author)` records what was done, and by whom.
    `cgroups()` returns the paths of each exception's cgroups, None if it is not by program. `check(uid)` begins a check
    of a user's browser.
    """

    def __init__(
        self,
        file: Path,
        settings: Config,
        pause: Pause,
        configure: Callable[[Config], None],
        note: Callable[[str, str, Author], None],
        status: Callable[[], Status],
        cgroups: Callable[[], list[list[str] | None]],
        check: Callable[[int], Hold],
        results: CheckResults,
    ) -> None:
        self._file = file
        self._drop_in = DropIn(file)
        self._check_setting = DropIn(file, CHECK_NAME)
        self._results = results
        self._config = settings
        self._pause = pause
        self._configure = configure
        self._note = note
        self._status = status
        self._cgroups = cgroups
        self._check = check
        self._shared: Status = {}  # the last status for those without rights
        self._shared_until = 0.0  # seconds of the monotonic clock
        self._ended_until = 0.0  # Unix seconds: the exceptions that ended before are removed

    def answer(self, request: dict[str, Any], peer: Peer) -> Reply:
        """Return the reply to a request; an error is a reply too. What could open the wall is polkit's to allow."""
        command = request.get("command")
        try:
            if isinstance(command, str) and command in _READING:
                if not (peer.may_change or self._config.status_for_all):
                    raise CommandError(
                        f"only root and the group stunwall may ask for the {_READING[command]} "
                        "(status_for_all = false)"
                    )
                return self._read(command, request, peer)
            if not peer.may_change:
                return {"error": "only root and the group stunwall may change anything", "refused": True}
            return self._change(request, peer)
        except StunwallError as error:
            return {"error": str(error)}

    def _read(self, command: str, request: dict[str, Any], peer: Peer) -> Reply:
        if command == "events":
            return self._events(request, peer)
        if command == "subscribe":
            return Subscribe(request.get("answers") is True)
        if command == "check":
            return self._check(peer.uid)
        if command == "check-begin":
            return self._results.refusal or {"basis": self._results.proofs.basis()}
        if command == "check-done":
            return self._results.refusal or self._check_done(request, peer)
        status = self._status() if peer.may_change else self._shared_status()
        return self._results.proofs.told(status, _checker(peer))

    def _change(self, request: dict[str, Any], peer: Peer) -> Status | Authorize:
        match request.get("command"):
            case "pause":
                seconds = _seconds(request)
                what = f"pause stunwall for {seconds} s, so that web pages can see your real address"
                return self._if_allowed(PAUSE, what, partial(self._start_pause, seconds), request, peer)
            case "resume":
                return self._end_pause(peer)
            case "reload":
                what = "have stunwall apply its configuration files"
                return self._if_allowed(RELOAD, what, self._reload, request, peer)
            case "check-every-vpn-up":
                on = request.get("on") is True
                what = "change whether stunwall checks itself whenever the VPN comes up"
                return self._if_allowed(RELOAD, what, partial(self._every_vpn_up, on), request, peer)
            case "allow-list":
                return self._exceptions()
            case "allow-add":
                entry = _entry(request.get("rule"))
                what = f"let STUN bypass the VPN, which shows your real address ({_words(entry)})"
                return self._if_allowed(ALLOW, what, partial(self._allow_add, entry), request, peer)
            case "allow-preset":
                return self._preset(_entries(request), request, peer)
            case "allow-remove":
                return self._allow_remove(request, peer)
            case _:
                raise CommandError(
                    "unknown command. Known commands: status, events, subscribe, check, check-begin, check-done, "
                    "pause, resume, reload, check-every-vpn-up, allow-list, allow-add, allow-preset, allow-remove"
                )

    def _if_allowed(
        self,
        action: str,
        what: str,
        change: Callable[[Author], Status],
        request: dict[str, Any],
        peer: Peer,
    ) -> Status | Authorize:
        """Make a change at once for root, else once polkit allows it, or does not run on this machine."""

        def make(by: Author) -> Status:
            try:
                return change(by)
            except StunwallError as error:
                return {"error": str(error)}

        if peer.is_root:
            return make(author(peer.uid, ROOT))
        return Authorize(action, what, request.get("interactive") is True, make)

    @property
    def due(self) -> float | None:
        """The seconds until `remove_ended` is to be called, None if no exception ends."""
        ends = [rule.until for rule in self._config.allow if rule.until is not None]
        left = [end - time.time() for end in ends if end > self._ended_until]
        return max(0.0, min(left)) if left else None

    def remove_ended(self) -> None:
        """Remove from the drop-in the exceptions that have ended: the kernel has ended them itself.

        Raises StunwallError if the drop-in cannot be written; it is not tried again before another ends.
        """
        if self.due == 0:
            now = self._ended_until = time.time()
            entries = self._drop_in.entries()
            ended = [each for each in entries if each.get("until", inf) <= now]
            if ended:
                allow = tuple(rule for rule in self._config.allow if rule.plain() not in ended)
                self._write([each for each in entries if each not in ended], allow)

    def _shared_status(self) -> Status:
        """Return the status, which was made within the last second: users without rights must not keep us busy."""
        now = time.monotonic()
        if now >= self._shared_until:
            self._shared, self._shared_until = self._status(), now + _SHARED
        return self._shared

    def _events(self, request: dict[str, Any], peer: Peer) -> Later:
        """Return a page of the record: the peer's own entries, or all of them to those who may read the file."""
        values = [request.get("after", 0), request.get("before", _ID_MAX), request.get("limit", PAGE)]
        if not all(isinstance(value, int) and 0 <= value <= _ID_MAX for value in values):
            raise CommandError('"after", "before" and "limit" are whole numbers')
        after, before, limit = map(int, values)
        all_users = peer.is_root or (peer.may_change and not self._config.log.own_only)
        return Later(
            partial(
                page,
                self._config.state_dir,
                None if all_users else peer.uid,
                after,
                before if "before" in request else None,
                limit,
            )
        )

    def _check_done(self, request: dict[str, Any], peer: Peer) -> Status:
        """Keep a check's result: root's counts for everybody."""
        leak = self._results.keep(proofs.parse(request), _checker(peer))
        if leak:
            by = _unasked(peer)
            self._note(LEAK, f"{leak}; {by}", by)
        return {"for_all": _checker(peer) == 0}

    def _every_vpn_up(self, on: bool, by: Author) -> Status:
        """Switch the checks at every start of the VPN on or off, and nothing else that the files say."""
        before = self._check_setting.write(check_text(on))
        try:
            if reader.load(self._file).check_every_vpn_up is not on:
                later = f"a file that is read after {self._check_setting.file} says otherwise"
                raise CommandError(f"{later}: change it there")
            settings = replace(self._config, check_every_vpn_up=on)
            self._configure(settings)
        except StunwallError:
            self._check_setting.restore(before)
            raise
        if settings != self._config:
            self._config = settings
            self._note("reloaded", f"check_every_vpn_up; {by}", by)
        return {"check_every_vpn_up": on}

    def _exceptions(self) -> Status:
        return {"allow": [rule.plain() for rule in self._config.allow], "cgroups": self._cgroups()}

    def _start_pause(self, seconds: int, by: Author) -> Status:
        self._pause.start(seconds)
        self._note("paused", f"for {seconds} s, {by}", by)
        return {"paused_until": self._pause.until}

    def _end_pause(self, peer: Peer) -> Status:
        was = self._pause.left > 0
        self._pause.end()
        if was:
            by = _unasked(peer)
            self._note("resumed", str(by), by)
        return {"was_paused": was}

    def _reload(self, by: Author) -> Status:
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
        if changed:
            self._note("reloaded", f"{', '.join(changed)}; {by}", by)
        return {"changed": changed}

    def _allow_add(self, entry: Entry, by: Author) -> Status:
        return self._add([*self._drop_in.entries(), entry], [entry], by)

    def _preset(self, new: list[Entry], request: dict[str, Any], peer: Peer) -> Status | Authorize:
        """Make the exceptions of a preset, if they are not there yet."""
        before = self._drop_in.entries()
        if merged(before, new) == before and reader.load(self._file).allow == self._config.allow:
            return self._exceptions()

        def make(by: Author) -> Status:
            return self._add(merged(self._drop_in.entries(), new), new, by)

        rules = "; ".join(map(_words, new))
        what = f"let STUN bypass the VPN, which shows your real address ({rules})"
        return self._if_allowed(ALLOW, what, make, request, peer)

    def _add(self, entries: list[Entry], added: list[Entry], by: Author) -> Status:
        """Make `entries` the drop-in's, of which some are `added`."""
        if len(self._config.allow) - len(self._drop_in.entries()) + len(entries) > _ALLOW_MAX:
            raise CommandError(f"there are already {_ALLOW_MAX} exceptions: remove some")
        self._write(entries)
        for each in added:
            self._note("allowed", f"{_words(each)}: {each['why']}; {by}", by)
        return self._exceptions()

    def _allow_remove(self, request: dict[str, Any], peer: Peer) -> Status:
        if isinstance(preset := request.get("preset"), str):
            return self._remove_preset(preset, peer)
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
        removed = entries.pop(number - 1 - files.index(self._drop_in.file))
        return self._remove([removed], entries, peer)

    def _remove_preset(self, preset: str, peer: Peer) -> Status:
        entries = self._drop_in.entries()
        removed = [each for each in entries if each.get("preset") == preset]
        if not removed:
            raise CommandError(
                f"there is no exception of a preset {preset!r} in {self._drop_in.file}: `stunwall allow list` shows all"
            )
        return self._remove(removed, [each for each in entries if each not in removed], peer)

    def _remove(self, removed: list[Entry], left: list[Entry], peer: Peer) -> Status:
        self._write(left)
        by = _unasked(peer)
        for each in removed:
            self._note("revoked", f"{_words(each)}: {each.get('why', '')}; {by}", by)
        return self._exceptions()

    def _write(self, entries: list[Entry], allow: tuple[Allow, ...] | None = None) -> None:
        """Replace the drop-in, and put `allow` or what all files say into force; if that fails, all is as it was."""
        before = self._drop_in.replace(entries)
        settings = replace(self._config, allow=reader.load(self._file).allow if allow is None else allow)
        try:
            self._configure(settings)
        except StunwallError:  # the kernel refuses it; at the next start it would be in the way
            self._drop_in.restore(before)
            raise
        self._config = settings


def _checker(peer: Peer) -> int:
    """Return whose a check's result is: the service that checks runs as the daemon's own user."""
    return 0 if peer.is_root else peer.uid


def _unasked(peer: Peer) -> Author:
    """Return who makes a change that polkit is not asked about.

    Without the name of a member, which may be on a server that does not answer.
    """
    return author(peer.uid, ROOT) if peer.is_root else Author(peer.uid, "", MEMBER)


def _seconds(request: dict[str, Any]) -> int:
    """Return how long a pause is to last. Raises CommandError."""
    seconds = request.get("seconds")
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise CommandError('a pause needs "seconds", a whole number')
    return seconds


def _entries(request: dict[str, Any]) -> list[Entry]:
    """Return the exceptions of one preset that are asked for. Raises CommandError."""
    asked = request.get("rules")
    if not isinstance(asked, list) or not 0 < len(asked) <= _PRESET_MAX:
        raise CommandError(f'a preset needs "rules", a list of up to {_PRESET_MAX} exceptions')
    entries = [_entry(each) for each in asked]
    presets = {each.get("preset") for each in entries}
    if None in presets or len(presets) > 1:
        raise CommandError('"rules" are exceptions of one "preset"')
    return entries


def _entry(entry: object) -> Entry:
    """Return an exception that is asked for, as it would be written. Raises CommandError."""
    if not isinstance(entry, dict) or not all(isinstance(v, str | int) for v in entry.values()):
        raise CommandError('an exception needs "rule", an object as in [[allow]]')
    if strange := entry.keys() - set(EXCEPTION_KEYS):  # they would be written to the file as they are
        raise CommandError(
            f"an exception has no key {min(strange)!r}. Known keys: {', '.join(EXCEPTION_KEYS)}"
        )
    return entry


def _words(entry: Entry) -> str:
    """Return what an exception is for, without its reason and its preset, which may be misleading."""
    said = {key: value for key, value in entry.items() if key == "until" or key not in NOTES}
    match said.get("until"):
        case int(until) if 0 <= until < _TIME_MAX:
            said["until"] = date_time(until)
    return ", ".join(f"{key} {value}" for key, value in said.items())
