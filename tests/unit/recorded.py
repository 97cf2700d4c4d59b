"""Entries of the record, for tests of what reads it."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from stunwall.config import Retention
from stunwall.model import Event
from stunwall.record.schema import DEFAULTS, FILE
from stunwall.record.writer import RecordWriter
from unit.build import packet
from vectors.programs import message


def event(port: int = 1, seen: float | None = None) -> Event:
    """A blocked flow from source port `port`, seen at `seen` in Unix seconds, or now."""
    moment = time.time() if seen is None else seen
    return Event(
        time=moment,
        last_time=moment,
        count=1,
        verdict="blocked",
        reason="outside-vpn",
        protocol="stun",
        method="Binding",
        transport="udp",
        family=4,
        source="192.0.2.17",
        source_port=port,
        destination="203.0.113.7",
        destination_port=3478,
        interface="eth0",
        packet=packet("udp", message(0x0001)),
    )


def record(folder: Path, *events: Event) -> None:
    """Write the events to the record in a folder, as the daemon does."""
    writer = RecordWriter(folder, Retention(keep_days=100_000), lambda event: None, lambda text: None)
    for each in events:
        writer.record(each)
    writer.close()


def sql(folder: Path, script: str) -> None:
    """Change the record behind the daemon's back."""
    with closing(sqlite3.connect(folder / FILE)) as connection:
        connection.executescript(script)


def without_summary(folder: Path) -> None:
    """Make the file one of version 2, with the same entries."""
    sql(folder, "".join(f"DROP TRIGGER events_{what};" for what in ("inserted", "updated", "deleted")))
    sql(folder, "".join(f"DROP TABLE {name};" for name in ("kinds", "entries", "destinations", "quarters")))
    sql(folder, "PRAGMA user_version = 2")


def version_1(folder: Path, *events: Event) -> None:
    """Write the events as stunwall 0.1.0 did: without the columns that have a default."""
    record(folder, *events)
    without_summary(folder)
    sql(folder, "DROP INDEX events_uid; DROP INDEX events_client")
    sql(folder, "".join(f"ALTER TABLE events DROP COLUMN {name};" for name in DEFAULTS))
    sql(folder, "PRAGMA user_version = 1")
