"""events.py, and the commands `events` and `subscribe`: whose events a peer is told of."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from stunwall.configfile import reader
from stunwall.control.held import Hold
from stunwall.control.peer import Peer
from stunwall.control.server import Later, Subscribe
from stunwall.control.subscribers import Subscribers
from stunwall.daemon import events
from stunwall.daemon.commands import Commands
from stunwall.daemon.proofs import CheckResults, Proofs
from stunwall.model import LEAK, Event
from stunwall.record.plain import entry, plain
from stunwall.record.schema import RecordError
from stunwall.wall.nft import Nft
from stunwall.wall.pause import Pause
from unit.recorded import event, record

ROOT, MEMBER, GUEST = Peer(0, True), Peer(1000, True), Peer(1001, False)
UIDS = (1000, 1001, 0, -1, 1000)
"""Whose the events are that the record holds, with the ids 1 to 5."""


class Served:
    """Commands with a configuration and a record."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        file = folder / "stunwall.toml"
        file.write_text(f'state_dir = "{folder}"\n{settings}')
        record(folder, *(replace(event(port), uid=uid) for port, uid in enumerate(UIDS, 1)))
        config = reader.load(file)
        pause = Pause(cast(Nft, None))
        checks = CheckResults(Proofs(lambda: 1), lambda: False, lambda: None)
        self.commands = Commands(
            file,
            config,
            pause,
            lambda config: None,
            lambda verdict, reason, by: None,
            dict,
            list,
            self._check,
            checks,
        )

    def _check(self, uid: int) -> Hold:
        raise NotImplementedError

    def ask(self, peer: Peer, **given: Any) -> dict[str, Any]:
        reply = self.commands.answer({"command": "events"} | given, peer)
        return reply.make() if isinstance(reply, Later) else cast(dict[str, Any], reply)

    def ids(self, peer: Peer, **given: Any) -> list[int]:
        return [each["id"] for each in self.ask(peer, **given)["events"]]


@pytest.mark.parametrize(
    ("settings", "peer", "ids"),
    [
        ("", ROOT, [1, 2, 3, 4, 5]),
        ("", MEMBER, [1, 2, 3, 4, 5]),
        ("status_for_all = true", GUEST, [2]),
        ("status_for_all = true", Peer(1002, False), []),
        ("[log]\nown_only = true", ROOT, [1, 2, 3, 4, 5]),
        ("[log]\nown_only = true", MEMBER, [1, 5]),
        ("[log]\nown_only = true", Peer(1002, True), []),
        ("status_for_all = true\n[log]\nown_only = true", GUEST, [2]),
        ("status_for_all = true\n[log]\nown_only = true", Peer(2**32 - 1, False), []),
    ],
)
def test_a_peer_is_told_of_its_own_events_and_who_may_read_the_record_of_all(
    tmp_path: Path, settings: str, peer: Peer, ids: list[int]
) -> None:
    served = Served(tmp_path, settings)
    assert served.ids(peer) == ids
    assert served.ids(peer, before=2**63 - 1) == ids[::-1]
    for number in range(1, 6):
        alone = served.ids(peer, after=number - 1, limit=1)
        assert (alone == [number]) is (number in ids)


@pytest.mark.parametrize("command", ["events", "subscribe"])
def test_who_may_not_ask_for_the_status_is_told_nothing(tmp_path: Path, command: str) -> None:
    served = Served(tmp_path)
    assert "status_for_all = false" in served.ask(GUEST, command=command)["error"]
    assert served.commands.answer({"command": "subscribe"}, MEMBER) == Subscribe()


def test_pages_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(tmp_path)
    monkeypatch.setattr(events, "PAGE", 2)
    assert served.ids(ROOT, limit=10**6) == [1, 2]
    assert served.ids(ROOT, after=2) == [3, 4]
    assert served.ids(ROOT, after=4) == [5]
    assert served.ids(ROOT, after=5) == []
    assert served.ids(ROOT, before=5) == [4, 3]
    assert served.ids(ROOT, limit=0) == []


@pytest.mark.parametrize("key", ["after", "before", "limit"])
@pytest.mark.parametrize("value", ["1", -1, 1.5, None, [], {}, 2**63, 10**40])
def test_a_strange_number_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    assert "whole numbers" in Served(tmp_path).ask(ROOT, **{key: value})["error"]


def test_a_record_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "there is no record yet" in events.page(tmp_path, None, 0, None, 1)["error"]


def test_an_entry_comes_back_as_it_was(tmp_path: Path) -> None:
    sent = replace(event(), uid=1000, app="an.App", command="\x1b[31m\udc80", packet=bytes(range(256)))
    assert entry(json.loads(json.dumps(plain(7, sent)))) == (7, sent)


@pytest.mark.parametrize("key", ["id", "time", "packet", "uid", "app", "count"])
@pytest.mark.parametrize("value", [None, [], {}, "zz", -1.5, 10**40])
def test_a_strange_entry_is_refused(key: str, value: Any) -> None:
    fields = plain(1, event())
    if (key, value) in [("app", "zz"), ("uid", 10**40), ("id", 10**40), ("count", 10**40)]:
        return  # they fit
    with pytest.raises(RecordError):
        entry(fields | {key: value})
    with pytest.raises(RecordError):
        entry({name: each for name, each in fields.items() if name != key})


class Told(Subscribers):
    """Keeps what is published."""

    def __init__(self, *uids: int) -> None:
        self.uids = frozenset(uids)
        self.lines: dict[int, list[dict[str, Any]]] = {}

    def publish(self, uid: int, lines: bytes) -> None:
        assert lines.endswith(b"\n")
        self.lines[uid] = [json.loads(line) for line in lines.splitlines()]


def test_each_subscriber_is_told_of_its_own_new_events_and_of_how_many_more_there_are() -> None:
    told = Told(1000, 1002)
    entries = [(number, replace(event(number), uid=uid)) for number, uid in enumerate(UIDS, 1)]
    events.announce(told, entries)
    assert told.lines.keys() == {1000}
    assert [entry(line["event"]) for line in told.lines[1000]] == [entries[0], entries[4]]
    many = [(number, replace(event(), uid=1002)) for number in range(1, 2001)]
    events.announce(told, many)
    *lines, last = told.lines[1002]
    assert len(lines) == 50
    assert last == {"more": 1950}


def test_a_leak_that_a_check_has_seen_is_told_to_every_subscriber() -> None:
    told = Told(1000, 1002)
    leak = replace(Event.note(1.0, LEAK, "a check has seen STUN leave"), uid=0)
    events.announce(told, [(1, leak), (2, replace(event(), uid=1002))])
    assert [len(told.lines[uid]) for uid in (1000, 1002)] == [1, 2]
    assert entry(told.lines[1000][0]["event"]) == (1, leak)
