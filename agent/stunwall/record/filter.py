"""Which entries of the record a reader wants. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from stunwall.model import Event

Network = IPv4Network | IPv6Network
Condition = tuple[str, list[object]]
"""In SQL, with the values of its parameters; "1" holds always."""
_Part = tuple[object, str, list[object]]

# The SQL function that `Filter.functions` provides.
_WITHIN = "within"
# A table of one's own connection, so that each destination is looked at once, and not for each kind of entries.
CHOOSE_DESTINATIONS = (
    "DROP TABLE IF EXISTS temp.chosen",
    "CREATE TEMP TABLE chosen (destination PRIMARY KEY) WITHOUT ROWID",
    f"INSERT INTO chosen SELECT DISTINCT destination FROM destinations WHERE {_WITHIN}(destination)",  # noqa: S608
)
CHOSEN = "destination IN (SELECT destination FROM temp.chosen)"
_APP = "(app GLOB ? OR container GLOB ? OR unit GLOB ? OR executable GLOB ? OR executable GLOB '*/' || ?)"
_REMEMBERED = 100_000  # destinations whose answer is kept, some 100 bytes each


@dataclass(frozen=True, slots=True)
class Filter:
    """What an entry has to fit; what is empty fits any. Times are Unix seconds.

    `since` and `until`: it was seen at or after, and at or before that. `app`: a glob for the application, container,
    unit or program. `unit`: a glob. `user`: a name or number. `to`: networks of the destination; `port`: its port.
    """

    since: float = 0.0
    until: float = 0.0
    app: str = ""
    unit: str = ""
    user: str = ""
    to: tuple[Network, ...] = ()
    port: int = 0
    verdict: str = ""
    reason: str = ""
    interface: str = ""

    def where(self) -> Condition:
        """Return a condition in SQL, and the values of its parameters."""
        return _joined(
            *self._of_kind(),
            *self._of_time(),
            (self.to, f"{_WITHIN}(destination)", []),
            (self.port, "destination_port = ?", [self.port]),
        )

    def kind(self) -> Condition:
        """Return the part of `where` that is about the columns of summary.KIND, "1" if that is empty."""
        return _joined(*self._of_kind())

    def beyond_kind(self) -> Condition:
        """Return the rest of `where`, for summary's `entries`, after CHOOSE_DESTINATIONS if `to` is given."""
        return _joined(
            *self._of_time(),
            (self.to, CHOSEN, []),
            (self.port, "destination_port = ?", [self.port]),
        )

    def _of_time(self) -> tuple[_Part, ...]:
        return (self.since, "last_time >= ?", [self.since]), (self.until, "time <= ?", [self.until])

    def _of_kind(self) -> tuple[_Part, ...]:
        return (
            (self.app, _APP, [self.app] * _APP.count("?")),
            (self.unit, "unit GLOB ?", [self.unit]),
            (self.user.isdecimal(), "uid = cast(? AS INTEGER)", [self.user]),
            (self.user and not self.user.isdecimal(), "user = ?", [self.user]),
            (self.verdict, "verdict = ?", [self.verdict]),
            (self.reason, "reason = ?", [self.reason]),
            (self.interface, "interface = ?", [self.interface]),
        )

    def fits(self, event: Event) -> bool:
        """Whether an event fits, where no SQL can be asked: as the condition says."""
        names = (
            event.app,
            event.container,
            event.unit,
            event.executable,
            event.executable.rpartition("/")[2],
        )
        user = event.uid == int(self.user) if self.user.isdecimal() else event.user == self.user
        return (
            event.last_time >= self.since
            and (not self.until or event.time <= self.until)
            and (not self.app or any(fnmatchcase(name, self.app) for name in names))
            and (not self.unit or fnmatchcase(event.unit, self.unit))
            and (not self.user or user)
            and (not self.to or self._is_within(event.destination))
            and self.port in (0, event.destination_port)
            and self.verdict in ("", event.verdict)
            and self.reason in ("", event.reason)
            and self.interface in ("", event.interface)
        )

    def functions(self) -> dict[str, Callable[[object], bool]]:
        """Return the functions of one argument that the condition calls, by their name in SQL."""
        return {_WITHIN: lru_cache(_REMEMBERED)(self._is_within)} if self.to else {}

    def _is_within(self, destination: object) -> bool:
        try:
            address = ip_address(str(destination))
        except ValueError:  # an entry about no packet, or one that was tampered with
            return False
        return any(address in network for network in self.to if network.version == address.version)


def _joined(*parts: _Part) -> Condition:
    """Return the condition that all parts hold whose first value is not empty."""
    wanted = [(text, values) for given, text, values in parts if given]
    return " AND ".join(text for text, _ in wanted) or "1", [
        value for _, values in wanted for value in values
    ]
