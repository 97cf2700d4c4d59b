"""`stunwall check --browser`: what a page in the user's own browser can learn."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import typer

from stunwall.browsers import audit
from stunwall.check import browser, run
from stunwall.check.browser import Machine, Seen, Stage
from stunwall.check.rows import rows
from stunwall.cli import terminal
from stunwall.cli.browser_page import PageServer, Visitor, own_users
from stunwall.cli.redacted import redaction
from stunwall.config import Config
from stunwall.control.client import Check
from stunwall.control.protocol import ControlError, ControlPermissionError
from stunwall.model import StunwallError
from stunwall.sockets import who
from stunwall.text import endpoint, printable
from stunwall.vpn.inside import Named

_SECONDS = 600.0  # until it ends by itself
_HINT = 30.0  # seconds until a user who has not opened the page gets a hint
_COLOURS = {"leak": "red", "moved": "green", "blocked": "green", "through": "green"}
_WORDS = {
    "leak": "LEAK",
    "moved": "moved into the VPN",
    "blocked": "blocked",
    "through": "through the VPN",
    "inside": "not outside",
    "none": "shown",
}
_UNTOLD = (
    "No browser has opened the page yet. It has to run on this machine: a browser in a container or a virtual machine "
    "cannot open the address."
)


def browser_policy(visitor: Visitor) -> str:
    """Return the policy about WebRTC that is in force in a browser, in a few sentences; "" if it is not known."""
    found = who.find(visitor.inode, visitor.uid)
    return "" if found is None else " ".join(audit.in_force(found[1], visitor.uid, found[0]))


def checked(config: Config, print_url: bool) -> dict[str, Any]:
    """Have the page tested in a browser, and return what that shows. Raises StunwallError."""
    named = Named(config.interfaces, config.inside)
    ways, _ = run.forecast(named)
    leaving = [way for way in ways if way.leaves]
    machine = Machine(
        run.owners(named),
        frozenset(way.packet.version for way in leaving),
        sum(not way.into_vpn for way in leaving),
    )
    session = Session(config.run_dir, machine)
    session.test()
    with PageServer(_html(), session.actions, own_users()) as page:
        try:
            _open(page.address, print_url)
            if not page.opened.wait(_HINT):
                typer.echo(_UNTOLD, err=True)
            page.finished.wait(_SECONDS)
        except KeyboardInterrupt:
            typer.echo("", err=True)
    session.close()
    return session.said()


class NothingShownError(StunwallError):
    """The check could not be made."""

    exit_code = 5


class Session:
    """What the page asks for, and what it has shown so far. The page's requests come in threads of their own."""

    def __init__(self, run_dir: Path, machine: Machine) -> None:
        self.actions = {"begin": self._begin, "stage": self._stage, "end": self._end}
        self._run_dir = run_dir
        self._machine = machine
        self._lock = threading.Lock()
        self._stages: dict[bool, Stage] = {}  # by whether it had the microphone
        self._check: Check | None = None
        self._browser = self._policy = ""

    def test(self) -> None:
        """Raise StunwallError unless stunwalld can be asked."""
        try:
            Check(self._run_dir).close()
        except ControlPermissionError:
            raise
        except ControlError as error:
            raise NothingShownError(f"the browser cannot be checked: {error}") from error

    def close(self) -> None:
        """End the check that goes on, if there is one."""
        if self._check is not None:
            self._check.close()
            self._check = None

    def said(self) -> dict[str, Any]:
        """Return what is shown so far, as in the JSON."""
        stages = [self._stages[key] for key in sorted(self._stages)]
        shown = browser.shown(stages, self._machine)
        return {
            "verdict": shown.verdict.value,
            "headline": shown.headline,
            "why": shown.why,
            "next": shown.next,
            "tells": browser.tells(stages),
            "not_tried": browser.not_tried(stages, self._machine),
            "browser": self._browser,
            "browser_policy": self._policy,
            "stages": [_plain(stage, self._machine) for stage in stages],
        }

    def _begin(self, said: Any, visitor: Visitor) -> Mapping[str, Any]:  # noqa: ANN401 (it is JSON)
        """Return the servers to ask."""
        del said
        with self._lock:
            self._browser, self._policy = printable(visitor.user_agent), browser_policy(visitor)
            try:
                self.close()
                self._check = Check(self._run_dir)
            except ControlError as error:
                return {"error": str(error)}
            servers: dict[str, list[str]] = {"labelled": [], "usual": []}
            for each in self._check.reply["servers"]:
                servers["usual" if each["as_usual"] else "labelled"].append(
                    f"stun:{endpoint(each['address'], each['port'])}"
                )
            return servers

    def _stage(self, said: Any, visitor: Visitor) -> Mapping[str, Any]:  # noqa: ANN401 (it is JSON)
        """Take what the page has gathered; return what is shown so far."""
        del visitor
        with self._lock:
            seen: list[Seen] = []
            failure = ""
            if self._check is not None:
                try:
                    usual = {each["port"] for each in self._check.reply["servers"] if each["as_usual"]}
                    seen = [_seen(each, usual) for each in self._check.seen()]
                except ControlError as error:
                    failure = str(error)
                self.close()
            if failure and isinstance(said, dict):
                said["failure"] = failure
            stage = browser.parse_stage(said, seen)
            self._stages[stage.microphone] = stage
            return self._reply(finished=stage.microphone and stage.done)

    def _end(self, said: Any, visitor: Visitor) -> Mapping[str, Any]:  # noqa: ANN401 (it is JSON)
        """Return what is shown, if the user does not want to go on."""
        del said, visitor
        with self._lock:
            return self._reply(finished=True)

    def _reply(self, *, finished: bool) -> Mapping[str, Any]:
        shown = self.said()
        hidden = redaction(True)
        # The versions in a User-Agent look like addresses.
        kept = {"browser": self._browser}
        redacted = json.dumps(hidden.value(shown) | kept if hidden else {}, indent=1)
        return {**shown, "redacted": redacted, "finished": finished}


def _seen(said: Mapping[str, Any], usual: set[int]) -> Seen:
    return Seen(
        **{name: said[name] for name in ("ip_version", "source", "source_port", "interface", "label")},
        **{name: said[name] for name in ("verdict", "reason", "why")},
        as_usual=said["server_port"] in usual,
    )


def _plain(stage: Stage, machine: Machine) -> dict[str, Any]:
    """Return the fields of the JSON of a stage."""
    return {
        "microphone": stage.microphone,
        "failure": stage.failure,
        "rows": [
            {
                "ip_version": row.ip_version,
                "interface": row.interface,
                "shown": row.shown,
                "hint": row.hint,
                "kinds": row.kinds,
                "outcome": row.outcome,
                "why": row.why,
            }
            for row in rows(stage, machine)
        ],
        "milliseconds": stage.usual.milliseconds,
        "complete": stage.usual.complete,
        "errors": list(stage.usual.errors),
        "sdp": stage.labelled.sdp,
    }


def _html() -> str:
    return (files("stunwall.cli") / "check.html").read_text(encoding="utf-8")


def _open(address: str, print_url: bool) -> None:
    """Open the page as this user if there is a desktop; say where it is in any case."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    opener = shutil.which("xdg-open")
    if os.getuid() == 0:
        typer.echo("Not opened by root: your browser runs as you. Open this address in it:", err=True)
    elif print_url or not display or opener is None:
        typer.echo("Open this address in the browser that you want to check:", err=True)
    else:
        subprocess.Popen(
            [opener, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        typer.echo("Your browser should open. If it does not, open this address in it:", err=True)
    typer.echo(f"  {address}\nThis ends when the page is done, or with Ctrl-C.", err=True)


def show(said: Mapping[str, Any]) -> None:
    """Print what a check has shown."""
    colour = {"sealed": "green", "leak": "red"}.get(said["verdict"], "yellow")
    word = typer.style(said["verdict"].upper(), fg=colour, bold=True)
    headline = said["headline"].removeprefix("Inconclusive: ")
    typer.echo(f"{word}: {terminal.wrapped(headline, 0)}\n{terminal.wrapped(said['why'], 0)}")
    for stage in said["stages"]:
        _show_stage(stage)
    for line in said["not_tried"]:
        typer.echo(f"\n{terminal.wrapped(line, 0)}")
    facts = [("Can a page tell?", said["tells"]), ("Browser policy", said["browser_policy"])]
    typer.echo("")
    terminal.rows([(name, text) for name, text in facts if text], 18)
    if said["next"]:
        typer.echo(f"\nNext: {terminal.wrapped(said['next'], 6)}")


def _show_stage(stage: Mapping[str, Any]) -> None:
    typer.echo(f"\n{'With' if stage['microphone'] else 'Without'} the microphone:")
    if stage["failure"]:
        typer.echo(f"  {terminal.wrapped(stage['failure'], 2)}")
        return
    if not stage["rows"]:
        typer.echo("  the browser sent no request, and showed no address")
    table = [_cells(row) for row in stage["rows"]]
    wide = [max(map(len, column)) + 2 for column in zip(*table, strict=True)] if table else []
    for cells, row in zip(table, stage["rows"], strict=True):
        text = "".join(cell.ljust(width) for cell, width in zip(cells, wide, strict=True))
        word = typer.style(_WORDS[row["outcome"]], fg=_COLOURS.get(row["outcome"]))
        typer.echo(f"  {text}{word}: {printable(row['why'])}")
    took = (
        f"{stage['milliseconds']:,} ms"
        if stage["complete"]
        else f"not done after {stage['milliseconds']:,} ms"
    )
    errors = f"; errors: {', '.join(map(printable, stage['errors']))}" if stage["errors"] else ""
    typer.echo(f"  A page finds its addresses: {took}{errors}")


def _cells(row: Mapping[str, Any]) -> Sequence[str]:
    version = f"IPv{row['ip_version']}" if row["ip_version"] else "-"
    return [version, *(printable(str(row[key])) or "-" for key in ("interface", "shown"))]
