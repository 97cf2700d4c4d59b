"""The redaction of a command, and the record as it shows it."""

import os
import pwd
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from stunwall.cli.record import OwnRecord, open_record
from stunwall.config import Config
from stunwall.doctor.findings import Finding
from stunwall.model import Event
from stunwall.record.filter import Filter
from stunwall.record.reader import LABELLED, RecordReader
from stunwall.record.summary import CONTAINER
from stunwall.redact.addresses import KEY
from stunwall.redact.redaction import Redaction
from stunwall.stun.services import service

_FIRST_PERSON = 1000  # login.defs(5), UID_MIN: the users below are the system's
_LAST_PERSON = 60000  # UID_MAX
_ALL = Filter()


def redaction(wanted: bool) -> Redaction | None:
    """Return a redaction if it is wanted.

    Its key is random, and kept nowhere: what two calls have printed cannot be compared, and nobody can find the key
    later to undo it. From then on all local times are in UTC, as a time zone tells where somebody is.
    """
    if not wanted:
        return None
    os.environ["TZ"] = "UTC"
    time.tzset()
    people = {
        user.pw_name: user.pw_uid for user in pwd.getpwall() if _FIRST_PERSON <= user.pw_uid <= _LAST_PERSON
    }
    return Redaction(secrets.token_bytes(KEY), people, socket.gethostname().partition(".")[0])


def open_redacted(config: Config, hidden: Redaction | None) -> "Record":
    """Return the record as `open_record` does, redacted if there is a redaction. Raises RecordError."""
    record = open_record(config)
    return record if hidden is None else RedactedRecord(record, hidden)


class Total(NamedTuple):
    """A sum of `totals`: `service` is that of a destination, `client` the name of a client, "" if it has none."""

    value: str
    service: str
    flows: int
    packets: int
    client: str = ""


def totals(
    record: RecordReader | OwnRecord, wanted: Filter, by: str, hidden: Redaction | None, named: int
) -> list[Total]:
    """Return what RecordReader.totals yields, redacted if there is a redaction. Raises RecordError.

    Only the first `named` have names; a pseudonym takes time.
    """
    asked = LABELLED if by == "app" and hidden is not None else by
    found = list(record.totals(wanted, asked))
    if by == "client":
        return [_of_client(each, hidden) for each in found]
    return [
        Total(shown(value, hidden), service(value) if by == "destination" else "", flows, packets)
        for value, flows, packets in found[:named]
    ] + [Total("", "", flows, packets) for _, flows, packets in found[named:]]


def _of_client(found: tuple[str, int, int], hidden: Redaction | None) -> Total:
    value, flows, packets = found
    address, _, name = value.partition(" ")
    if hidden is not None:
        address, name = hidden.text(address), hidden.client(name)
    return Total(address, "", flows, packets, name)


def shown(value: str, hidden: Redaction | None) -> str:
    """Return a value of GROUPS, redacted if there is a redaction."""
    if hidden is None:
        return value.removeprefix(CONTAINER)
    if value.startswith(CONTAINER):
        return hidden.container(value.removeprefix(CONTAINER))
    return hidden.text(value)


def redacted_finding(one: Finding, hidden: Redaction | None) -> Finding:
    """Return a finding, redacted if there is a redaction."""
    if hidden is None:
        return one
    return replace(one, what=hidden.text(one.what), why=hidden.text(one.why), next=hidden.text(one.next))


class RedactedRecord:
    """A record, redacted; filters are for what is in the record itself."""

    def __init__(self, record: RecordReader | OwnRecord, hidden: Redaction) -> None:
        self._record = record
        self._hidden = hidden
        self.inode = record.inode
        self.close = record.close
        self.last_id = record.last_id

    def events(
        self, wanted: Filter = _ALL, after: int = 0, limit: int | None = None
    ) -> Iterator[tuple[int, Event]]:
        """As RecordReader.events. Raises RecordError."""
        for number, event in self._record.events(wanted, after, limit):
            yield number, self._hidden.event(event)

    def event(self, number: int) -> Event | None:
        """As RecordReader.event. Raises RecordError."""
        event = self._record.event(number)
        return None if event is None else self._hidden.event(event)


Record = RecordReader | OwnRecord | RedactedRecord
