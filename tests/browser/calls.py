"""Which calls work, by browser, level of its policy and mode: `./tests/run.sh calls`.

With `--write` it updates the table in README.md. A cell is a call between the browser on the client and Chromium on a
machine in the internet, while packets outside the VPN are captured. The same calls without stunwall are the control:
what does not work then is the level's doing, and what stays inside the VPN then has not been kept there by stunwall.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from pathlib import Path
from typing import NamedTuple

from browser.call import Way
from browser.etc import Etc
from browser.levels import LEVELS, set_level
from browser.peer import Peer
from browser.program import BROWSERS, Browser
from browser.watched import Seen, reachable_peer, watched
from lab.agent import Agent
from lab.namespace import require_isolation
from lab.topology import Lab

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- the table of calls -->\n", "<!-- end of the table of calls -->\n"
SECONDS = 3  # of data and video in both directions
PATIENCE = 20  # seconds until a call counts as failed; one that works has begun after 5
MODES = ("", "block", "redirect")
"""Without stunwall, and with its modes."""
COMMANDS = {"chromium": "chromium", "firefox": "firefox-esr"}


class Call(NamedTuple):
    """One cell."""

    browser: Browser
    level: str
    mode: str
    way: Way


def play(lab: Lab, peer: Peer) -> Iterator[tuple[Call, Seen]]:
    """Makes every call."""
    for browser in BROWSERS:
        for level in LEVELS:
            with tempfile.TemporaryDirectory() as folder:
                etc = Etc(Path(folder))
                set_level(etc, browser, level)
                for mode in MODES:
                    for way in Way:
                        with _stunwall(lab, mode):
                            seen = watched(
                                lab, peer, browser, way, SECONDS, patience=PATIENCE, inside=etc.command
                            )
                        yield Call(browser, level, mode, way), seen


def _stunwall(lab: Lab, mode: str) -> AbstractContextManager[object]:
    return Agent(lab, mode=mode) if mode else nullcontext()


def table(cells: dict[Call, Seen]) -> str:
    """The table in Markdown."""
    lines = [
        f"| browser | level | mode | {' | '.join(Way)} | packets outside |",
        "| --- " * (4 + len(Way)) + "|",
    ]
    for browser in BROWSERS:
        for level in LEVELS:
            for mode in MODES[1:]:
                calls = [Call(browser, level, mode, way) for way in Way]
                works = [_works(cells, call) for call in calls]
                outside, free = (
                    sum(len(cells[call._replace(mode=each)].outside) for call in calls) for each in (mode, "")
                )
                row = (
                    browser.capitalize(),
                    f"`{level}`",
                    mode,
                    *works,
                    f"{outside} (without stunwall {free})",
                )
                lines.append(f"| {' | '.join(row)} |")
    versions = ", ".join(_version(browser) for browser in BROWSERS)
    return "\n".join(lines) + f"\n\nPlayed on {date.today()} with {versions}.\n"


def _works(cells: dict[Call, Seen], call: Call) -> str:
    if cells[call].works:
        return "works"
    return "no" if cells[call._replace(mode="")].works else "no, nor without stunwall"


def _version(browser: Browser) -> str:
    said = subprocess.run([COMMANDS[browser], "--version"], capture_output=True, text=True, check=True)
    words = said.stdout.split()
    return f"{browser.capitalize()} {next(word for word in words if word[0].isdigit())}"


def main() -> int:
    try:
        require_isolation()
    except RuntimeError as error:
        sys.exit(str(error).replace("run.sh lab", "run.sh calls"))
    cells: dict[Call, Seen] = {}
    with Lab() as lab, reachable_peer(lab) as peer:
        for call, seen in play(lab, peer):
            cells[call] = seen
            works = seen.connected.client.selected if seen.works else "failed"
            print(
                f"{call.browser:8} {call.level:38} {call.mode or 'without':8} {call.way:13} "
                f"{len(seen.outside):4} outside  {works}",
                flush=True,
            )
    print("\n" + table(cells))
    leaks = [call for call, seen in cells.items() if call.mode and (seen.outside or seen.stun or seen.beyond)]
    print("\n".join(f"LEAK: {call}" for call in leaks) or "Nothing left outside the VPN.")
    if "--write" in sys.argv[1:] and not leaks:
        before, rest = README.read_text().split(BEGIN)
        README.write_text(before + BEGIN + "\n" + table(cells) + "\n" + END + rest.split(END)[1])
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
