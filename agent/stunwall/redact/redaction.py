"""What a record and a status say, redacted. No I/O."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stunwall.model import Event
from stunwall.redact import packet
from stunwall.redact.text import Texts


class Redaction:
    """One way to hide who and where a user is: what is hidden gets the same pseudonym wherever it is.

    Args:
        key: a secret of addresses.KEY random bytes. Whoever has it can undo everything.
        users, host: as of Texts.
    """

    def __init__(self, key: bytes, users: Mapping[str, int], host: str) -> None:
        self._texts = Texts(key, users, host)
        self.text = self._texts.text

    def container(self, name: str) -> str:
        """Return what stands for a container's name or ID."""
        return self._texts.name("container", name)

    def client(self, name: str) -> str:
        """Return what stands for the name of a machine behind this one."""
        return self._texts.name("client", name)

    def event(self, event: Event) -> Event:
        """Return the event with pseudonyms, and with its packet as packet.py leaves it."""
        texts = self._texts
        return replace(
            event,
            source=texts.text(event.source),
            destination=texts.text(event.destination),
            reason=texts.text(event.reason),
            interface=texts.text(event.interface),
            incoming=texts.text(event.incoming),
            packet=packet.redacted(event.packet, texts.addresses.pseudonym),
            uid=texts.uid(event.uid),
            user=texts.user(event.user, event.uid),
            unit=texts.text(event.unit),
            app=texts.text(event.app),
            container=self.container(event.container),
            executable=texts.file(event.executable),
            command=texts.command(event.command),
            who=texts.text(event.who),
            cause_text=texts.text(event.cause_text),
            mac=texts.text(event.mac),
            client=self.client(event.client),
        )

    def value(self, value: Any, key: object = "") -> Any:  # noqa: ANN401 (it is JSON)
        """Return a value of JSON with all its texts and users redacted; `key` is what it is called."""
        if isinstance(value, dict):
            return {name: self.value(each, name) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.value(each, key) for each in value)
        if isinstance(value, str):
            return self._texts.name("user", value) if key == "user" else self.text(value)
        if isinstance(value, int) and key in ("uid", "user") and not isinstance(value, bool):
            return self._texts.uid(value)
        return value
