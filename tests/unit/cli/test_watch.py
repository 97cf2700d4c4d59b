"""cli/watch.py: the real command in a real terminal, tmux, beside a record and a daemon on a real socket."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.deadline import until
from unit.cli.command import ENVIRONMENT, HOSTILE, Stunwall, command
from unit.recorded import event, record

TIMEOUT = 30  # seconds until a test fails that waits in vain
SIZE = ("-x", "100", "-y", "30")


class Terminal:
    """A terminal that runs `stunwall watch`, as its user sees it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._tmux = ("tmux", "-S", str(folder / "tmux"), "-f", "/dev/null")
        line = shlex.join(command(folder, "watch", *arguments))
        environment = {**ENVIRONMENT, "LC_ALL": "C.UTF-8"}
        del environment["COLUMNS"], environment["TERM"]
        subprocess.run(
            [*self._tmux, "new-session", "-d", *SIZE, f"{line}; echo ended with $?; read _"],
            env=environment,
            check=True,
        )

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=True)

    def press(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def screen(self) -> str:
        return subprocess.run(
            [*self._tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True
        ).stdout

    def shows(self, *texts: str, without: str = "") -> str:
        """The screen, once it has all these texts, and not that other one."""

        def shown() -> bool:
            screen = self.screen()
            return all(text in screen for text in texts) and not (without and without in screen)

        until(shown, TIMEOUT, f"{texts} on the screen")
        return self.screen()


@pytest.fixture
def terminal(folder: Path, daemon: dict[str, Any]) -> Iterator[Terminal]:
    opened = Terminal(folder)
    try:
        yield opened
    finally:
        opened.close()


def test_state_and_entries_are_shown_and_new_ones_come(terminal: Terminal, folder: Path) -> None:
    terminal.shows("PROTECTED: STUN leaves through the VPN or not at all", "there is no record yet")
    record(folder, event(1))
    terminal.shows("VERDICT", "blocked", "203.0.113.7:3478", "1 flow blocked today", without="no record")
    record(folder, replace(event(2), destination="198.51.100.9"))
    print(terminal.shows("203.0.113.7:3478", "198.51.100.9:3478"))


def test_a_state_that_changes_is_shown(terminal: Terminal, daemon: dict[str, Any]) -> None:
    terminal.shows("PROTECTED")
    daemon |= {"state": "paused"}
    terminal.shows("PAUSED", without="PROTECTED")


def test_the_list_is_filtered_by_any_text(terminal: Terminal, folder: Path) -> None:
    record(folder, event(1), replace(event(2), destination="198.51.100.9", app="org.mozilla.Firefox"))
    terminal.shows("203.0.113.7", "198.51.100.9")
    terminal.press("f")
    terminal.shows("Show only entries that contain")
    terminal.press("firefox")
    print(terminal.shows("198.51.100.9", "“firefox”: 1 of 2", without="203.0.113.7"))
    terminal.press("C-u")
    terminal.shows("203.0.113.7", "198.51.100.9", "Show only entries that contain")
    terminal.press("Enter")
    terminal.shows("203.0.113.7", without="Show only entries that contain")


def test_a_list_that_is_held_does_not_move(terminal: Terminal, folder: Path) -> None:
    record(folder, event(1))
    terminal.shows("203.0.113.7")
    terminal.press("Space")
    terminal.shows("The list is held")
    record(folder, replace(event(2), destination="198.51.100.9"))
    # The state is asked for meanwhile, and counts the new flow.
    terminal.shows("2 flows blocked today", without="198.51.100.9")
    terminal.press("Space")
    terminal.shows("198.51.100.9", without="The list is held")


def test_an_entry_is_opened_and_closed(terminal: Terminal, folder: Path) -> None:
    record(folder, event(1))
    terminal.shows("203.0.113.7")
    terminal.press("Enter")
    terminal.shows("Verdict", "blocked: it would have bypassed the VPN", "The first packet:")
    terminal.press("Escape")
    terminal.shows("VERDICT", without="The first packet:")


def test_nothing_from_the_record_reaches_the_terminal_raw(terminal: Terminal, folder: Path) -> None:
    hostile = HOSTILE.replace("\0", "") + "[red]x[/red]"
    record(folder, replace(event(1), interface=hostile, method="[bold]m[/bold]"))
    screen = terminal.shows("[bold]m[/bold]")
    assert "owned" in screen  # as text, and not as the window's title
    assert "\u202e" not in screen


def test_it_quits(terminal: Terminal) -> None:
    terminal.shows("PROTECTED")
    terminal.press("q")
    terminal.shows("ended with 0")


def test_without_a_terminal_it_says_what_to_use(stunwall: Stunwall) -> None:
    result = stunwall("watch")
    assert result.code == 1
    assert "needs a terminal" in result.err
    assert "stunwall log --follow" in result.err


def test_the_library_is_loaded_only_for_this_command() -> None:
    source = (
        "import sys, stunwall.cli.app; print([name for name in sys.modules if name.startswith('textual')])"
    )
    loaded = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    assert loaded == "[]\n"


def test_a_redacted_screen_shows_no_address(folder: Path, daemon: dict[str, Any]) -> None:
    daemon["problems"] = ["81.2.69.142 is missing"]
    record(folder, replace(event(1), destination="81.2.69.142"))
    opened = Terminal(folder, "--redact")
    try:
        assert "81.2.69.142" not in opened.shows("PROTECTED", "is missing", "stun Binding")
    finally:
        opened.close()
