"""What each command takes beyond Python's own start, by the size of the record. The daemon does not run.

Python may keep its bytecode, as an installed stunwall does.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from bench.host import bytecode, come_first
from bench.results import Budget, Growth, Result, Row
from lab.agent import PACKAGE
from stunwall.model import Event, Reason
from stunwall.record import summary
from stunwall.record.reader import RecordReader
from stunwall.record.schema import FILE, INSERT, open_for_writing
from unit.recorded import event

GROUP = "Commands"
SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 5
DAYS = 90  # as long as the daemon keeps entries by default
PIECE = 100_000  # entries that are made until it is said how many there are
IN_TIME = Budget(0.2)
NEWEST = ("-n", "1000")
BUDGETED = ("status", "log")
COMMANDS = {
    "--version": (),
    "status": (),
    "log": (),
    "log --json": NEWEST,
    "log --since 2h": (),
    "log --app firefox": (),
    "log --app nobody": (),
    "log --unit rare.service": (),
    "log --to 203.0.113.0/24": (),
    "log --verdict redirected": (),
    "log --app fire* --reason tcp --user rare --until 1d": (),
    "show": ("{newest}",),
    "explain": ("{newest}",),
    "stats": (),
    "stats --by day": (),
    "stats --since 30d --by destination": (),
    "stats --app firefox --by destination": (),
    "exposure": (),
    "export --since 1h": (),
    "report": ("--html", "{folder}/report.html"),
}
_values = attrgetter(*(each.name for each in fields(Event)))  # as astuple(), which takes ten times as long
_PLAIN = event()
# Programs by how often they are seen, from the most frequent.
APPS = (
    "firefox",
    "chromium",
    "com.discordapp.Discord",
    "zoom",
    "teams",
    "slack",
    "signal",
    "element",
    "telegram",
)


def made(number: int, rows: int, dice: random.Random) -> Event:
    """One of `rows` events of the last DAYS days: most are of few programs, to few servers, by one interface."""
    start = time.time() - DAYS * 86400 * (rows - number) / rows
    rank = min(int(dice.expovariate(0.5)), 59)
    app = APPS[rank] if rank < len(APPS) else ""
    server = min(int(dice.paretovariate(0.7)), 60_000)
    rare = number % 250_000 == 7
    return Event(
        protocol=_PLAIN.protocol,
        method=_PLAIN.method,
        transport=_PLAIN.transport,
        family=_PLAIN.family,
        source=_PLAIN.source,
        source_port=dice.randrange(1024, 65536),
        time=start,
        last_time=start + dice.randrange(60),
        count=dice.randrange(1, 9),
        verdict="redirected" if rare else "blocked",
        reason=Reason.TCP if rare else dice.choice((Reason.OUTSIDE_VPN, Reason.NO_VPN, Reason.DEVICE_BOUND)),
        destination=f"203.0.{server >> 8}.{server & 255}",
        destination_port=dice.choice((3478, 3478, 19302, 443)),
        interface=dice.choice(("eth0", "eth0", "eth0", "wlan0")),
        packet=_PLAIN.packet + dice.randbytes(60),
        uid=4711 if rare else 1000 + rank % 3,
        user="rare" if rare else ("alice", "bob", "carol")[rank % 3],
        unit="rare.service" if rare else f"app-{rank}.scope",
        app="rare" if rare else app,
        pid=dice.randrange(2, 32768),
        executable=f"/usr/lib/program{rank}/program{rank}",
        command=f"/usr/lib/program{rank}/program{rank} --type=utility --field-trial-handle=3,i,{number}",
        cause="bound",
        cause_text="its socket is bound to an address that is routed around the VPN (rule 100: from 192.168.1.5)",
    )


def record(folder: Path, rows: int) -> None:
    """Make a record of so many events, as the daemon's schema has it."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(rows)  # the same record each time
    with closing(open_for_writing(folder / FILE)) as connection, connection:
        # The summary is made afterwards, all at once, as for a record of an older version.
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for begin in range(0, rows, PIECE):
            piece = range(begin, min(begin + PIECE, rows))
            connection.executemany(INSERT, (_values(made(number, rows, dice)) for number in piece))
            if rows > PIECE:
                print(f"a record of {rows:,} events: {piece[-1] + 1:,} made", file=sys.stderr, flush=True)
        summary.create(connection)


def measured(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each command beyond those of `python -c pass` in the same round."""
    (folder / "c.toml").write_text(f'state_dir = "{folder}"\nrun_dir = "{folder}"\n')
    with closing(RecordReader(folder)) as record:
        newest = str(record.last_id())
    environment = {**os.environ, **bytecode(), "PYTHONPATH": str(PACKAGE)}

    def seconds(*words: str) -> float:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
        took = time.perf_counter() - start
        if done.returncode not in (0, 1) or "Traceback" in done.stderr:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
        return took

    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        python = seconds("-c", "pass")
        for command, more in COMMANDS.items():
            words = (*command.split(), *(word.format(newest=newest, folder=folder) for word in more))
            took = seconds("-m", "stunwall.cli", "--config", str(folder / "c.toml"), *words) - python
            found.setdefault(command, []).append(took)
    return found


def measure(quick: bool) -> Iterator[Result]:
    """Rows for each command and size, and how `log` and `stats` grow with the events."""
    come_first()
    sizes = (100,) if quick else SIZES
    took: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for rows in sizes:
            folder = Path(scratch) / str(rows)
            record(folder, rows)
            if not took:
                measured(folder, 1)  # the first round makes the bytecode
            took[rows] = measured(folder, 1 if quick else ROUNDS)
    for rows, commands in took.items():
        for command, values in commands.items():
            budgeted = rows == SIZES[-1] and command.split()[0] in BUDGETED and not COMMANDS[command]
            budgets = (IN_TIME,) if budgeted else ()
            yield Row(GROUP, command, f"{rows:,} events", "s", tuple(values), budgets)
    for command in ("log", "log --app nobody", "stats"):
        points = tuple((rows, tuple(commands[command])) for rows, commands in took.items())
        yield Growth(GROUP, "a command", "events", command, "s", points)
