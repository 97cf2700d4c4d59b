"""What the record's file keeps beside the entries, so that a million of them are filtered and summed up at once (SQL).

Triggers keep it: whatever inserts, changes or deletes an entry, these tables agree with it.

    kinds             what many entries have in common, as verdict and program, with their sums
    entries           the entries of a kind, with what else a filter or a sum asks for
    destinations      sums by destination and kind
    quarters          sums by the quarter of an hour in which the entries were last seen, and by program
    days              sums by the day in UTC in which they were last seen, and by kind
    day_destinations  sums by that day and by destination

All but the first two are of entries about packets.
"""

import sqlite3
from math import ceil, inf

from stunwall.record.filter import Condition, Filter

KIND = (
    *("verdict", "reason", "protocol", "interface", "incoming"),
    *("uid", "user", "unit", "app", "container", "executable"),
)
"""The columns of events that make a kind."""
_COLUMNS = ", ".join(KIND)
PROGRAM = (
    "coalesce(nullif(app, ''), nullif(container, ''), iif(unit GLOB '*.service', unit, NULL), "
    "nullif(replace(executable, rtrim(executable, replace(executable, '/', '')), ''), ''), nullif(unit, ''), "
    "nullif(incoming, ''), 'unknown')"
)
"""The program as in `text.sender`, of a row with the columns of KIND."""
CONTAINER = "container:"
LABELLED_PROGRAM = PROGRAM.replace("nullif(container, '')", f"'{CONTAINER}' || nullif(container, '')")
"""As PROGRAM, but the names of containers are preceded by CONTAINER: nothing else tells them from other names."""
ROWS = (
    f"(SELECT {_COLUMNS}, last_time, time, destination, destination_port, entries.flows, entries.count "  # noqa: S608
    "FROM kinds CROSS JOIN entries ON entries.kind = kinds.id)"
)
"""What to sum up in place of `events`, whose rows are much longer: each has a packet. CROSS: the kinds come first."""
TO = (
    f"(SELECT {_COLUMNS}, destination, destinations.flows, destinations.count "  # noqa: S608
    "FROM destinations JOIN kinds ON kinds.id = destinations.kind)"
)
"""As ROWS, where neither times nor ports matter: fewer rows, only of entries about packets."""
# Time zones differ from UTC by multiples of a quarter of an hour: a day consists of whole ones, wherever it is.
QUARTER, _DAY = 900, 86400  # seconds


def by_kind(part: Condition) -> Condition:
    """Return what to sum up where only kinds differ: `part` selects kind, flows and count."""
    rows, values = part
    return (
        f"(SELECT {_COLUMNS}, sums.flows, sums.count FROM (SELECT kind, total(flows) AS flows, "  # noqa: S608
        f"total(count) AS count FROM {rows} GROUP BY kind) AS sums JOIN kinds ON kinds.id = sums.kind)"
    ), values


def of_time(table: str, column: str, wanted: Filter) -> Condition:
    """Return rows (`column`, flows, count) of the entries about packets that fit the filter, but for `to` and `port`.

    What lies in whole days or quarters is taken from `table`, the rest from the entries.
    """
    slot = QUARTER if table == "quarters" else _DAY
    since, until = wanted.since, wanted.until
    whole, end = ceil(since / slot) * slot, until // slot * slot if until else inf
    of_kind, some = wanted.kind()
    kinds = f"FROM kinds WHERE protocol != '' AND {of_kind})"
    which = {"days": f"kind IN (SELECT id {kinds}", "quarters": f"program IN (SELECT program {kinds}"}.get(
        table, "1"
    )
    parts: list[Condition] = []
    if whole < end:
        sums = f"SELECT {column}, total(flows) AS flows, total(count) AS count FROM {table}"  # noqa: S608
        text = f"{sums} WHERE last_time >= ? AND last_time < ? AND {which} GROUP BY {column}"
        parts.append((text, [whole, end, *(some if which != "1" else ())]))
    # The plus keeps SQLite from going through all entries of each kind (sqlite.org/optoverview.html §7.2).
    rows = f"SELECT {column}, flows, count FROM entries WHERE +kind IN (SELECT id {kinds} AND last_time >= ?"  # noqa: S608
    if since and whole < end:
        parts.append((f"{rows} AND last_time < ?", [*some, since, whole]))
    if until:
        # Entries that began until then, and lasted longer: none is later than a day that has one.
        last = f"(SELECT max(last_time) + {_DAY} FROM days WHERE first <= ?)"  # noqa: S608
        parts.append(
            (
                f"{rows} AND last_time < {last} AND time <= ?",
                [*some, end if whole < end else since, until, until],
            )
        )
    return "(" + " UNION ALL ".join(text for text, _ in parts) + ")", [
        value for _, values in parts for value in values
    ]


# `first`: when the earliest of the entries began, or an earlier one that is deleted.
_SUMS = "entries NOT NULL, flows NOT NULL, count NOT NULL, first NOT NULL"
_ADD = (
    "entries = entries + 1, flows = flows + excluded.flows, count = count + excluded.count, "
    "first = min(first, excluded.first)"
)
_SUBTRACT = "entries = entries - 1, flows = flows - OLD.flows, count = count - OLD.count"


# In SQL, of an event that is called {0}.
_QUARTER_OF = f"CAST({{0}}.last_time / {QUARTER} AS INTEGER) * {QUARTER}"
_DAY_OF = f"CAST({{0}}.last_time / {_DAY} AS INTEGER) * {_DAY}"
# The tables of sums: their keys, and what they are of an event and its kind.
_BY = {
    "destinations": {"destination": "{0}.destination", "kind": "kinds.id"},
    "quarters": {"last_time": _QUARTER_OF, "program": "kinds.program"},
    "days": {"last_time": _DAY_OF, "kind": "kinds.id"},
    "day_destinations": {"last_time": _DAY_OF, "destination": "{0}.destination"},
}


def _is_kind(row: str) -> str:
    return " AND ".join(f"kinds.{name} = {row}.{name}" for name in KIND)


def _table(name: str) -> str:
    keys = ", ".join(_BY[name])
    return f"CREATE TABLE {name} ({keys}, {_SUMS}, PRIMARY KEY ({keys})) WITHOUT ROWID"


def _fill(name: str) -> str:
    return (
        f"INSERT INTO {name} SELECT {_of('events', name)}, count(*), "  # noqa: S608
        "total(events.flows), total(events.count), min(events.time) "
        f"FROM events JOIN kinds ON {_is_kind('events')} WHERE events.protocol != '' GROUP BY 1, 2"
    )


def _of(row: str, name: str) -> str:
    return ", ".join(_BY[name].values()).format(row)


def _more(name: str) -> str:
    return (
        f"INSERT INTO {name} SELECT {_of('NEW', name)}, 1, NEW.flows, NEW.count, NEW.time FROM kinds "  # noqa: S608
        f"WHERE NEW.protocol != '' AND {_is_kind('NEW')} ON CONFLICT ({', '.join(_BY[name])}) DO UPDATE SET {_ADD};"
    )


def _less(name: str) -> str:
    keys = f"({', '.join(_BY[name])}) = (SELECT {_of('OLD', name)} FROM kinds WHERE {_is_kind('OLD')})"  # noqa: S608
    return _subtracted(name, f"{keys} AND OLD.protocol != ''")


def _subtracted(table: str, which: str) -> str:
    """Return how an old entry is taken from a sum, which goes with its last entry."""
    return (
        f"UPDATE {table} SET {_SUBTRACT} WHERE {which};"  # noqa: S608
        f"DELETE FROM {table} WHERE {which} AND entries <= 0;"
    )


_TABLES = (
    f"CREATE TABLE kinds (id INTEGER PRIMARY KEY, {_COLUMNS}, program AS ({LABELLED_PROGRAM}), {_SUMS}, "
    f"UNIQUE ({_COLUMNS}))",
    # Without INTEGER, the primary key is not used for the ids of other tables (sqlite.org/datatype3.html §4.2).
    "CREATE TABLE entries (kind INTEGER, id INTEGER, last_time, time, destination, destination_port, flows, count, "
    "PRIMARY KEY (kind, id)) WITHOUT ROWID",
    "CREATE INDEX entries_time ON entries (last_time, kind, flows, count)",
    *map(_table, _BY),
)
_FILL = (
    f"INSERT INTO kinds ({_COLUMNS}, entries, flows, count, first) "  # noqa: S608
    f"SELECT {_COLUMNS}, count(*), total(flows), total(count), min(time) FROM events GROUP BY {_COLUMNS}",
    "INSERT INTO entries SELECT kinds.id, events.id, last_time, time, destination, destination_port, "  # noqa: S608
    "events.flows, events.count "
    f"FROM events JOIN kinds ON {_is_kind('events')}",
    *map(_fill, _BY),
)
_INSERTED = f"""
INSERT INTO kinds ({_COLUMNS}, entries, flows, count, first)
    VALUES ({", ".join(f"NEW.{name}" for name in KIND)}, 1, NEW.flows, NEW.count, NEW.time)
    ON CONFLICT ({_COLUMNS}) DO UPDATE SET {_ADD};
INSERT INTO entries SELECT id, NEW.id, NEW.last_time, NEW.time, NEW.destination, NEW.destination_port,
    NEW.flows, NEW.count FROM kinds WHERE {_is_kind("NEW")};
{"".join(map(_more, _BY))}
"""  # noqa: S608
_DELETED = (
    f"DELETE FROM entries WHERE id = OLD.id AND kind = (SELECT id FROM kinds WHERE {_is_kind('OLD')});"  # noqa: S608
    + "".join(map(_less, _BY))
    + _subtracted("kinds", _is_kind("OLD"))  # the last: the others ask for its id
)
_TRIGGERS = {
    "events_inserted": f"AFTER INSERT ON events BEGIN {_INSERTED} END",
    "events_deleted": f"AFTER DELETE ON events BEGIN {_DELETED} END",
    "events_updated": f"AFTER UPDATE ON events BEGIN {_DELETED} {_INSERTED} END",
}
_NAMES = ("kinds", "entries", *_BY)


def exists(connection: sqlite3.Connection) -> bool:
    """Return whether the file has all of it: one of an older version does not. Raises SQLITE_ERRORS."""
    wanted = (*_NAMES, *_TRIGGERS)
    query = f"SELECT count(*) FROM sqlite_master WHERE name IN ({', '.join('?' * len(wanted))})"  # noqa: S608
    return bool(connection.execute(query, wanted).fetchone()[0] == len(wanted))


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, and fill them: 10 to 30 seconds for a million entries. In the caller's transaction."""
    # There may be a part of them, that somebody has damaged.
    for statement in (
        *(f"DROP TRIGGER IF EXISTS {name}" for name in _TRIGGERS),
        *(f"DROP TABLE IF EXISTS {name}" for name in _NAMES),
        *_TABLES,
        *_FILL,
        *(f"CREATE TRIGGER {name} {body}" for name, body in _TRIGGERS.items()),
    ):
        connection.execute(statement)
