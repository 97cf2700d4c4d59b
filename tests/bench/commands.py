"""What each command takes beyond Python's own start, by the size of the record: python -m bench.commands.

    --rows N      repeatable (default: 10,000, 100,000 and 1,000,000)
    --rounds N    how often each command runs (default: 9); each round begins with `python -c pass`
    --agent FOLDER   the package to be measured (default: this checkout's)
    --keep FOLDER    makes the records there, and takes those that are there (default: a folder that is removed)

Printed is a table in Markdown: the median in seconds, and in brackets the smallest and the largest. The daemon does not
run. Python may keep its bytecode, as an installed stunwall does.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import astuple
from pathlib import Path

from lab.agent import PACKAGE
from stunwall.model import Event, Reason
from stunwall.record.reader import RecordReader
from stunwall.record.schema import FILE, INSERT, open_for_writing
from unit.recorded import event

SIZES = (10_000, 100_000, 1_000_000)
DAYS = 90  # as long as the daemon keeps entries by default
NEWEST = ("-n", "1000")
COMMANDS = {
    "--version": (),
    "--help": (),
    "log": (),
    "log --json": NEWEST,
    "log --since 2h": (),
    "log --until 60d": (),
    "log --app firefox": (),
    "log --app rare": (),
    "log --app nobody": (),
    "log --unit rare.service": (),
    "log --user 4711": (),
    "log --user nobody": (),
    "log --to 203.0.113.0/24": (),
    "log --to 198.18.0.1:9": (),
    "log --verdict redirected": (),
    "log --verdict exposed": (),
    "log --reason tcp": (),
    "log --reason unreadable": (),
    "log --interface wlan9": (),
    "log --app firefox --verdict blocked --interface eth0 --since 30d": (),
    "log --app fire* --reason tcp --user rare --until 1d": (),
    "show": ("{newest}",),
    "show --json": ("{newest}",),
    "explain": ("{newest}",),
    "stats": (),
    "stats --by destination": (),
    "stats --by day": (),
    "stats --by reason": (),
    "stats --by verdict": (),
    "stats --since 7d": (),
    "stats --since 30d --by destination": (),
    "stats --by day --app firefox": (),
    "stats --to 203.0.113.0/24": (),
    "stats --app firefox --by destination": (),
    "exposure": (),
    "status": (),
    "export --since 1h": (),
    "config check": (),
    "report": ("--html", "{folder}/report.html"),
}
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
    plain = event(dice.randrange(1024, 65536), start)
    return Event(
        protocol=plain.protocol,
        method=plain.method,
        transport=plain.transport,
        family=plain.family,
        source=plain.source,
        source_port=plain.source_port,
        time=start,
        last_time=start + dice.randrange(60),
        count=dice.randrange(1, 9),
        verdict="redirected" if rare else "blocked",
        reason=Reason.TCP if rare else dice.choice((Reason.OUTSIDE_VPN, Reason.NO_VPN, Reason.DEVICE_BOUND)),
        destination=f"203.0.{server >> 8}.{server & 255}",
        destination_port=dice.choice((3478, 3478, 19302, 443)),
        interface=dice.choice(("eth0", "eth0", "eth0", "wlan0")),
        packet=plain.packet + dice.randbytes(60),
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
    if (folder / FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(rows)  # the same record each time
    with closing(open_for_writing(folder / FILE)) as connection, connection:
        connection.executemany(INSERT, (astuple(made(number, rows, dice)) for number in range(rows)))


def measured(agent: Path, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each command beyond those of `python -c pass` in the same round."""
    (folder / "c.toml").write_text(f'state_dir = "{folder}"\nrun_dir = "{folder}"\n')
    with closing(RecordReader(folder)) as record:
        newest = str(record.last_id())
    environment = {**os.environ, "PYTHONPATH": str(agent), "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds(*words: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], env=environment, capture_output=True, check=False)
        return time.perf_counter() - start

    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        python = seconds("-c", "pass")
        for command, more in COMMANDS.items():
            words = (*command.split(), *(word.format(newest=newest, folder=folder) for word in more))
            took = seconds("-m", "stunwall.cli", "--config", str(folder / "c.toml"), *words) - python
            if number:  # the first round makes the bytecode
                found.setdefault(command, []).append(took)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--agent", type=Path, default=PACKAGE)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    sizes = options.rows or SIZES
    tables = []
    with tempfile.TemporaryDirectory() as scratch:
        for rows in sizes:
            folder = (options.keep or Path(scratch)) / str(rows)
            record(folder, rows)
            tables.append(measured(options.agent, folder, options.rounds))
    print("| command |", " | ".join(f"{rows:,}" for rows in sizes), "|")
    print("| --- |", " | ".join("---" for _ in sizes), "|")
    for command in COMMANDS:
        cells = (
            f"{statistics.median(took):.3f} ({min(took):.3f}-{max(took):.3f})"
            for took in (each[command] for each in tables)
        )
        print(f"| `{command}` |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
