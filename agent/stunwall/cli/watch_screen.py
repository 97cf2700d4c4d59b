"""The screen of `stunwall watch`."""

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static
from textual.worker import get_current_worker

from stunwall.cli import log
from stunwall.cli.report import Report
from stunwall.model import Event, StunwallError
from stunwall.text import count, printable

_POLL, _POLL_STATE = 0.5, 2.0  # seconds between looks at the record, and at the state
_STYLES = {False: "bold green", True: "bold red", None: "bold yellow"}


class Entry(ModalScreen[None]):
    """One entry in full."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter,q", "dismiss", "Back")]
    CSS = "VerticalScroll { background: $surface; padding: 1 2; }"

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Return the parts of the screen."""
        with VerticalScroll():
            yield Static(Text(self._text))
        yield Footer()


class Watch(App[None]):
    """The state on top, the newest entries below it; the list follows the newest entry.

    Args:
        newest: returns the newest entries with their IDs, oldest first. May raise StunwallError.
        state: returns the state; called in a thread. May raise StunwallError.
        describe: returns an entry in full, as lines of text.
    """

    TITLE = "stunwall"
    ENABLE_COMMAND_PALETTE = False
    CSS = "#state { padding: 0 1; } #filter { display: none; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("f", "filter", "Filter"),
        ("space", "hold", "Hold"),
        ("enter", "open", "Open"),
        ("q", "quit", "Quit"),
    ]

    def __init__(
        self,
        newest: Callable[[], list[tuple[int, Event]]],
        state: Callable[[], Report],
        describe: Callable[[int, Event], str],
    ) -> None:
        super().__init__()
        self._newest = newest
        self._state = state
        self._describe = describe
        self._entries: dict[int, Event] = {}
        self._shown: dict[int, Event] = {}
        self._wanted = ""  # text that an entry has to contain
        self._held = False
        self._said = Text("Asking stunwalld ...")
        self._trouble = ""

    def compose(self) -> ComposeResult:
        """Return the parts of the screen."""
        yield Static(id="state")
        yield Input(placeholder="Show only entries that contain ...", id="filter")
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look at the record and at the state."""
        table = self._table
        for name in log.COLUMNS:
            table.add_column(name, key=name)
        table.focus()
        self._look()
        self._ask()
        self.set_interval(_POLL, self._look)
        self.set_interval(_POLL_STATE, self._ask)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    def _ask(self) -> None:
        self.run_worker(self._ask_in_thread, thread=True, exclusive=True)

    def _ask_in_thread(self) -> None:
        try:
            said = _state(self._state())
        except StunwallError as error:
            said = Text(printable(str(error)), style=_STYLES[None])
        if not get_current_worker().is_cancelled:
            self.call_from_thread(self._take_state, said)

    def _take_state(self, said: Text) -> None:
        self._said = said
        self._head()

    def _head(self) -> None:
        notes = [self._trouble] if self._trouble else []
        if self._held:
            notes.append("The list is held: press space to go on")
        if self._wanted:
            notes.append(
                f"Only entries that contain “{self._wanted}”: {len(self._shown)} of {len(self._entries)}"
            )
        self.query_one("#state", Static).update(
            Text("\n").join([self._said, *map(Text, map(printable, notes))])
        )

    def _look(self) -> None:
        """Take what is new in the record."""
        if self._held:
            return
        try:
            self._entries = dict(self._newest())
            self._trouble = ""
        except StunwallError as error:
            self._trouble = str(error)
        self._fill()

    def _fill(self) -> None:
        """Bring the list up to date: rows go, change and come."""
        table = self._table
        follows = table.cursor_row >= table.row_count - 1
        wanted = {
            number: event
            for number, event in self._entries.items()
            if self._wanted in _searched(number, event)
        }
        for number in self._shown.keys() - wanted.keys():
            table.remove_row(str(number))
        if self._shown and min(wanted, default=0) < min(self._shown.keys() & wanted.keys(), default=0):
            table.clear()  # older entries come back, which can't be inserted above others
            self._shown = {}
        for number, event in wanted.items():
            cells = [Text(cell) for cell in log.cells(number, event)]
            if number not in self._shown:
                table.add_row(*cells, key=str(number))
            elif event != self._shown[number]:
                for name, cell in zip(log.COLUMNS, cells, strict=True):
                    table.update_cell(str(number), name, cell)
        self._shown = wanted
        if follows and table.row_count:
            table.move_cursor(row=table.row_count - 1)
        self._head()

    def action_hold(self) -> None:
        """Hold the list, or let it go on."""
        self._held = not self._held
        self._look()
        self._head()

    def action_filter(self) -> None:
        """Ask for the text that entries have to contain."""
        field = self.query_one(Input)
        field.display = True
        self.set_focus(field)  # at once: what is typed next belongs there

    def on_input_changed(self, changed: Input.Changed) -> None:
        """Show only the entries that contain the text."""
        self._wanted = changed.value.casefold()
        self._fill()

    def on_input_submitted(self) -> None:
        """Go back to the list."""
        self.set_focus(self._table)
        self.query_one(Input).display = bool(self._wanted)

    def on_data_table_row_selected(self, selected: DataTable.RowSelected) -> None:
        """Show the entry in full."""
        number = int(str(selected.row_key.value))
        if event := self._shown.get(number):
            self.push_screen(Entry(self._describe(number, event)))


def _state(report: Report) -> Text:
    text = Text()
    text.append(report.state.upper(), _STYLES[report.leak])
    text.append(f": {printable(report.headline)}")
    ways = [f"VPN {name}" for name, _ in report.vpn] or ["no VPN"]
    if report.blocked is not None:
        ways.append(f"{count(report.blocked['flows'], 'flow')} blocked today")
    if report.second_lock:
        ways.append(f"second lock {report.second_lock}")
    text.append(f"\n{printable(', '.join(ways))}")
    for problem in report.problems:
        text.append(f"\nProblem: {printable(problem)}", "yellow")
    return text


def _searched(number: int, event: Event) -> str:
    """Return what a filter looks at, in lower case."""
    fields = log.fields_of(number, event)
    return "\n".join(str(value) for value in fields.values()).casefold()
