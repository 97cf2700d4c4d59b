"""What the socket tells of the record: entries for whoever asks, and new ones to those who have subscribed."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from stunwall.control.protocol import Status
from stunwall.control.subscribers import Subscribers
from stunwall.model import LEAK, Event, StunwallError
from stunwall.record.plain import plain
from stunwall.record.reader import RecordReader

PAGE = 50  # entries in a reply; each has up to 4 kB of packet
_PATIENCE = 1.0  # seconds for which the record may be locked
_TOLD = 50  # new entries of a user in one batch, which is written at most once a second


def page(folder: Path, uid: int | None, after: int, before: int | None, limit: int) -> Status:
    """Return a page of the record, as RecordReader.page, or the error. Reads the disk: not for the loop's thread."""
    try:
        with closing(RecordReader(folder, _PATIENCE)) as record:
            found = record.page(uid, after=after, before=before, limit=min(limit, PAGE))
        return {"events": [plain(number, event) for number, event in found]}
    except StunwallError as error:
        return {"error": str(error)}


def announce(subscribers: Subscribers, entries: Sequence[tuple[int, Event]]) -> None:
    """Tell each user who has subscribed of new entries of theirs, and of leaks, which are only root's to prove.

    Called in the record's thread.
    """
    lines: dict[int, list[dict[str, object]]] = {}
    more: Counter[int] = Counter()
    for number, event in entries:
        for uid in subscribers.uids if event.verdict == LEAK else subscribers.uids & {event.uid}:
            told = lines.setdefault(uid, [])
            if len(told) < _TOLD:
                told.append({"event": plain(number, event)})
            else:
                more[uid] += 1
    for uid, told in lines.items():
        if more[uid]:
            told.append({"more": more[uid]})
        subscribers.publish(uid, b"".join(json.dumps(line).encode() + b"\n" for line in told))
