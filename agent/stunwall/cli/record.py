"""The record as the commands read it: the file, or what the daemon tells of it to who may not read the file."""

from collections.abc import Iterator
from pathlib import Path
from time import localtime, strftime

from stunwall.config import Config
from stunwall.control import client
from stunwall.control.protocol import ControlError
from stunwall.model import Event
from stunwall.record.filter import Filter
from stunwall.record.plain import entry
from stunwall.record.reader import LABELLED, RecordReader
from stunwall.record.schema import RecordError, RecordPermissionError
from stunwall.record.shares import WINDOW
from stunwall.record.summary import CONTAINER
from stunwall.text import sender

_ALL = Filter()


def open_record(config: Config) -> "RecordReader | OwnRecord":
    """Return the record, or that of this user's own events. Raises RecordError."""
    try:
        return RecordReader(config.state_dir)
    except RecordPermissionError as error:
        own = OwnRecord(config.run_dir)
        try:
            own.last_id()
        except RecordError:
            raise error from None
        return own


class OwnRecord:
    """The events that the daemon tells this user of, with the methods of RecordReader that the commands call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def close(self) -> None:
        """Do nothing: each page is a connection of its own."""

    inode = 0  # it is never replaced by another one

    def events(
        self, wanted: Filter = _ALL, after: int = 0, limit: int | None = None
    ) -> Iterator[tuple[int, Event]]:
        """As RecordReader.events. Raises RecordError."""
        if limit is None:
            while page := self._page(after=after):
                yield from (each for each in page if wanted.fits(each[1]))
                after = page[-1][0]
            return
        yield from reversed(self._newest(wanted, after, limit))

    def totals(self, wanted: Filter, by: str) -> Iterator[tuple[str, int, int]]:
        """As RecordReader.totals. Raises RecordError."""
        sums: dict[str, list[int]] = {}
        for _, event in self.events(wanted):
            if event.protocol and (by != "client" or event.incoming):
                total = sums.setdefault(_group(event, by), [0, 0])
                total[0] += event.flows
                total[1] += event.count
        for value, (flows, packets) in sorted(sums.items(), key=lambda each: (-each[1][0], each[0])):
            yield value, flows, packets

    def _newest(self, wanted: Filter, after: int, limit: int) -> list[tuple[int, Event]]:
        found: list[tuple[int, Event]] = []
        before: dict[str, int] = {"before": 2**63 - 1}
        while page := self._page(**before):
            found += (each for each in page if each[0] > after and wanted.fits(each[1]))
            number, oldest = page[-1]
            # Those with a smaller id began earlier, and last for a minute at most.
            if len(found) >= limit or number <= after or oldest.time < wanted.since - WINDOW:
                break
            before = {"before": number}
        return found[:limit]

    def event(self, number: int) -> Event | None:
        """As RecordReader.event. Raises RecordError."""
        if not 0 < number < 2**63:
            return None
        page = self._page(after=number - 1, limit=1)
        return page[0][1] if page and page[0][0] == number else None

    def last_id(self) -> int:
        """As RecordReader.last_id. Raises RecordError."""
        page = self._page(before=2**63 - 1, limit=1)
        return page[0][0] if page else 0

    def _page(self, **asked: int) -> list[tuple[int, Event]]:
        try:
            reply = client.request(self._folder, {"command": "events", **asked})
        except ControlError as error:
            raise RecordError(str(error)) from error
        return [entry(fields) for fields in reply.get("events", ())]


def _group(event: Event, by: str) -> str:
    """Return the value that an event is summed up under, as record.reader.GROUPS has it in SQL."""
    if by == LABELLED and event.container and not event.app:
        return CONTAINER + event.container
    if by in ("app", LABELLED):
        return sender(event) or event.incoming or "unknown"
    if by == "client":
        return f"{event.source} {event.client}"
    if by == "day":
        return strftime("%Y-%m-%d", localtime(event.last_time))
    return str(getattr(event, by))
