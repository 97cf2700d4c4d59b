"""`stunwall notify`: shows the user what was blocked of theirs, and does what they choose."""

import os
import selectors
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stunwall.control import client
from stunwall.control.client import Subscription
from stunwall.control.mailbox import Mailbox
from stunwall.control.protocol import ControlError, ControlPermissionError, Status
from stunwall.model import LEAK, Event, StunwallError, Verdict
from stunwall.notify import words
from stunwall.notify.bus import Closed, Desktop, Invoked
from stunwall.notify.groups import Groups
from stunwall.record.plain import entry
from stunwall.sockets import who

HOUR = 3600  # seconds
_RETRY = 5.0  # seconds until a daemon that does not run is looked for again


class Agent:
    """Runs until the session bus ends. It sleeps while nothing happens.

    Args:
        folder: where the daemon's socket is.
        desktop: shows the notifications.
        say: is called with what the user of the service's journal should know.
        length: the seconds for which an exception lasts.
    """

    def __init__(
        self, folder: Path, desktop: Desktop, say: Callable[[str], None], length: int = HOUR
    ) -> None:
        self._folder = folder
        self._desktop = desktop
        self._say = say
        self._length = length
        self._groups = Groups()
        self._leak = 0  # the notification about the last one
        self._subscription: Subscription | None = None
        self._try_at = 0.0  # seconds of the monotonic clock
        self._absent = ""  # why there is no subscription, as was said
        self._selector = selectors.DefaultSelector()
        self._selector.register(desktop, selectors.EVENT_READ, self._hear)
        self._mailbox = Mailbox()
        self._selector.register(self._mailbox, selectors.EVENT_READ, self._mailbox.run)

    def run(self) -> None:
        """Serve. Raises BusError, and ControlPermissionError if this user may not ask the daemon."""
        while True:
            if self._subscription is None and time.monotonic() >= self._try_at:
                self._subscribe()
            for key, _ in self._selector.select(self._wait()):
                key.data()
            for group in self._groups.due(time.monotonic()):
                self._groups.shown(
                    group, self._desktop.show(group.note(self._length), group.notification), time.monotonic()
                )
            # Showing has also read what the user did meanwhile, which then waits in no socket.
            self._hear()

    def _wait(self) -> float | None:
        now = time.monotonic()
        waits = [self._groups.wait(now)]
        if self._subscription is None:
            waits.append(max(0.0, self._try_at - now))
        return min((each for each in waits if each is not None), default=None)

    def _subscribe(self) -> None:
        try:
            subscription = Subscription(self._folder, answers=True)
        except ControlPermissionError:
            raise
        except ControlError as error:
            self._lose(str(error))
            return
        self._subscription, self._absent = subscription, ""
        self._selector.register(subscription, selectors.EVENT_READ, self._receive)
        self._say("ready: what stunwall blocks of your programs is shown")
        self._take(subscription, subscription.first)

    def _lose(self, why: str) -> None:
        self._try_at = time.monotonic() + _RETRY
        if why != self._absent:
            self._absent = why
            self._say(f"waiting for stunwalld: {why}")

    def _receive(self) -> None:
        if self._subscription is None:
            return
        try:
            self._take(self._subscription, self._subscription.receive())
        except (ControlError, OSError) as error:
            self._selector.unregister(self._subscription)
            self._subscription.close()
            self._subscription = None
            self._lose(str(error))

    def _take(self, subscription: Subscription, lines: list[Status]) -> None:
        for line in lines:
            if isinstance(line.get("whose"), int):
                subscription.answer(line["whose"], *(who.find(line["whose"], os.getuid()) or (0, "", "")))
            elif "event" in line:
                number, event = entry(line["event"])
                if event.verdict == Verdict.BLOCK:
                    self._groups.add(number, event, time.monotonic())
                elif event.verdict == LEAK:
                    self._leak = self._desktop.show(words.leak(event), self._leak)
            elif isinstance(line.get("more"), int):
                self._groups.add_more(line["more"])

    def _hear(self) -> None:
        for answer in self._desktop.answers():
            match answer:
                case Closed(notification):
                    self._groups.closed(notification)
                case Invoked(notification, action):
                    group = self._groups.of(notification)
                    if group is None or group.told is None or group.others:
                        continue
                    # What the user has seen, though there may be later attempts.
                    number, event = group.told
                    if action == words.DETAILS:
                        note = words.details(number, event, self._length)
                        group.details = self._desktop.show(note, group.details)
                    elif action == words.ALLOW and words.exception(event):
                        # polkit may ask the user for a password: notifications go on meanwhile.
                        threading.Thread(target=self._allow, args=(event,), daemon=True).start()

    def _allow(self, event: Event) -> None:
        rule = words.exception(event)
        until = int(time.time()) + self._length
        why = f"allowed by a notification about {words.program(event)}"
        asked = {"command": "allow-add", "rule": rule | {"until": until, "why": why}, "interactive": True}
        try:
            client.request(self._folder, asked)
            note = words.allowed(rule, until)
        except StunwallError as error:
            note = words.refused(str(error))
        self._mailbox.post(partial(self._desktop.show, note))
