"""What the record's file keeps beside the entries, so that a million of them are filtered and summed up at once (SQL).

Triggers keep it: whatever inserts, changes or deletes an entry, these tables agree with it.

    kinds         what many entries have in common, as verdict and program, with their sums
    entries       the entries of a kind, with what else a filter or a sum asks for
    destinations  sums by destination and kind, of entries about packets
    quarters      sums by the quarter of an hour in which the entries were last seen, also of those
"""

import sqlite3

KIND = (
    *("verdict", "reason", "protocol", "interface", "incoming"),
    *("uid", "user", "unit", "app", "container", "executable"),
)
"""The columns of events that make a kind."""
ROWS = (
    f"(SELECT {', '.join(KIND)}, last_time, time, destination, destination_port, entries.flows, entries.count "  # noqa: S608
    "FROM kinds CROSS JOIN entries ON entries.kind = kinds.id)"
)
"""What to sum up in place of `events`, whose rows are much longer: each has a packet. CROSS: the kinds come first."""
TO = (
    f"(SELECT {', '.join(KIND)}, destination, destinations.flows, destinations.count "  # noqa: S608
    "FROM destinations JOIN kinds ON kinds.id = destinations.kind)"
)
"""As ROWS, where neither times nor ports matter: fewer rows, only of entries about packets."""


def by_kind(beyond: str, also: str = "0") -> str:
    """Return what to sum up where only kinds differ: `also` is another column, `beyond` a condition on `entries`."""
    return (
        f"(SELECT {', '.join(KIND)}, also, sums.flows, sums.count FROM (SELECT kind, {also} AS also, "  # noqa: S608
        f"total(flows) AS flows, total(count) AS count FROM entries WHERE {beyond} GROUP BY kind, also) AS sums "
        "JOIN kinds ON kinds.id = sums.kind)"
    )


# Time zones differ from UTC by multiples of a quarter of an hour: a day consists of whole ones, wherever it is.
_QUARTER = "CAST({0}last_time / 900 AS INTEGER) * 900"
_COLUMNS = ", ".join(KIND)
_SUMS = "entries NOT NULL, flows NOT NULL, count NOT NULL"
_ADD = "entries = entries + 1, flows = flows + excluded.flows, count = count + excluded.count"
_SUBTRACT = "entries = entries - 1, flows = flows - OLD.flows, count = count - OLD.count"


def _is_kind(row: str) -> str:
    return " AND ".join(f"kinds.{name} = {row}.{name}" for name in KIND)


def _less(table: str, which: str) -> str:
    """Return how an old entry is taken from a sum, which goes with its last entry."""
    return (
        f"UPDATE {table} SET {_SUBTRACT} WHERE {which};"  # noqa: S608
        f"DELETE FROM {table} WHERE {which} AND entries <= 0;"
    )


_TABLES = (
    f"CREATE TABLE kinds (id INTEGER PRIMARY KEY, {_COLUMNS}, {_SUMS}, UNIQUE ({_COLUMNS}))",
    # Without INTEGER, the primary key is not used for the ids of other tables (sqlite.org/datatype3.html §4.2).
    "CREATE TABLE entries (kind INTEGER, id INTEGER, last_time, time, destination, destination_port, flows, count, "
    "PRIMARY KEY (kind, id)) WITHOUT ROWID",
    "CREATE INDEX entries_time ON entries (last_time, kind, flows, count)",
    f"CREATE TABLE destinations (destination NOT NULL, kind INTEGER NOT NULL, {_SUMS}, "
    "PRIMARY KEY (destination, kind)) WITHOUT ROWID",
    f"CREATE TABLE quarters (last_time NOT NULL PRIMARY KEY, {_SUMS}) WITHOUT ROWID",
)
_FILL = (
    f"INSERT INTO kinds ({_COLUMNS}, entries, flows, count) "  # noqa: S608
    f"SELECT {_COLUMNS}, count(*), total(flows), total(count) FROM events GROUP BY {_COLUMNS}",
    "INSERT INTO entries SELECT kinds.id, events.id, last_time, time, destination, destination_port, "  # noqa: S608
    "events.flows, events.count "
    f"FROM events JOIN kinds ON {_is_kind('events')}",
    "INSERT INTO destinations SELECT destination, kind, count(*), total(entries.flows), total(entries.count) "
    "FROM entries JOIN kinds ON kinds.id = kind WHERE protocol != '' GROUP BY 1, 2",
    f"INSERT INTO quarters SELECT {_QUARTER.format('')}, count(*), total(flows), total(count) FROM events "  # noqa: S608
    "WHERE protocol != '' GROUP BY 1",
)
_INSERTED = f"""
INSERT INTO kinds ({_COLUMNS}, entries, flows, count)
    VALUES ({", ".join(f"NEW.{name}" for name in KIND)}, 1, NEW.flows, NEW.count)
    ON CONFLICT ({_COLUMNS}) DO UPDATE SET {_ADD};
INSERT INTO entries SELECT id, NEW.id, NEW.last_time, NEW.time, NEW.destination, NEW.destination_port,
    NEW.flows, NEW.count FROM kinds WHERE {_is_kind("NEW")};
INSERT INTO destinations SELECT NEW.destination, id, 1, NEW.flows, NEW.count FROM kinds
    WHERE NEW.protocol != '' AND {_is_kind("NEW")}
    ON CONFLICT (destination, kind) DO UPDATE SET {_ADD};
INSERT INTO quarters SELECT {_QUARTER.format("NEW.")}, 1, NEW.flows, NEW.count WHERE NEW.protocol != ''
    ON CONFLICT (last_time) DO UPDATE SET {_ADD};
"""  # noqa: S608
_OLD_KIND = f"(SELECT id FROM kinds WHERE {_is_kind('OLD')})"  # noqa: S608
_DELETED = (
    f"DELETE FROM entries WHERE kind = {_OLD_KIND} AND id = OLD.id;"  # noqa: S608
    + _less("destinations", f"destination = OLD.destination AND kind = {_OLD_KIND} AND OLD.protocol != ''")
    + _less("kinds", _is_kind("OLD"))  # the last: the others ask for its id
    + _less("quarters", f"last_time = {_QUARTER.format('OLD.')} AND OLD.protocol != ''")
)
_TRIGGERS = (
    f"CREATE TRIGGER events_inserted AFTER INSERT ON events BEGIN {_INSERTED} END",
    f"CREATE TRIGGER events_deleted AFTER DELETE ON events BEGIN {_DELETED} END",
    f"CREATE TRIGGER events_updated AFTER UPDATE ON events BEGIN {_DELETED} {_INSERTED} END",
)

# Of a summary that somebody has damaged.
_LEFT = (
    *(f"TRIGGER IF EXISTS events_{what}" for what in ("inserted", "deleted", "updated")),
    *(f"TABLE IF EXISTS {table}" for table in ("kinds", "entries", "destinations", "quarters")),
)


def exists(connection: sqlite3.Connection) -> bool:
    """Return whether the file has the tables: one of an older version does not. Raises SQLITE_ERRORS."""
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'events_updated'"
    return bool(connection.execute(query).fetchone()[0])


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, and fill them: 10 to 30 seconds for a million entries. In the caller's transaction."""
    for left in _LEFT:
        connection.execute(f"DROP {left}")
    for statement in (*_TABLES, *_FILL, *_TRIGGERS):
        connection.execute(statement)
