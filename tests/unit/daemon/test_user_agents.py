"""user_agents.py: what a user's own agent says of a sender, and that it can harm nobody else."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stunwall.control.subscribers import Subscribers
from stunwall.daemon import user_agents
from stunwall.daemon.user_agents import SAID, UserAgents
from stunwall.model import Event, Sender
from unit.recorded import event

SENDER = Sender(uid=1000, cgroup=2, inode=7)
UNCERTAIN = replace(event(), uid=1000, unit="u.scope", pid=5, executable="sh", who="one of 2 processes")
ANSWER = {"whose": 7, "pid": 42, "executable": "/usr/bin/a", "command": "a b"}


class Agents:
    """Agents that give `answer`, after `seconds` of a clock that runs for them only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *uids: int) -> None:
        self.answering = frozenset(uids)
        self.answer: dict[str, Any] | None = ANSWER
        self.seconds = 0.001
        self.now = 1000.0
        self.asked: list[tuple[int, int]] = []
        monkeypatch.setattr(user_agents, "time", SimpleNamespace(monotonic=lambda: self.now))

    def ask(self, uid: int, inode: int, seconds: float) -> dict[str, Any] | None:
        self.asked.append((uid, inode))
        self.now += min(self.seconds, seconds)
        return self.answer if self.seconds <= seconds else None

    def identify(self, known: Event = UNCERTAIN) -> Callable[[Event, Sender | None], Event]:
        agents = UserAgents(lambda event, sender: known)
        agents.subscribers = cast(Subscribers, self)
        return agents.identify


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> Agents:
    return Agents(monkeypatch, 1000)


def test_an_agent_says_which_process_of_its_user_it_was(agents: Agents) -> None:
    found = agents.identify()(event(), SENDER)
    assert found == replace(UNCERTAIN, pid=42, executable="/usr/bin/a", command="a b", who=SAID)
    assert agents.asked == [(1000, 7)]


@pytest.mark.parametrize(
    ("known", "sender"),
    [
        (replace(UNCERTAIN, who="", command="sh -c a"), SENDER),  # nothing is left to ask
        (UNCERTAIN, None),
        (UNCERTAIN, SENDER._replace(uid=1001)),
        (UNCERTAIN, SENDER._replace(inode=0)),
    ],
)
def test_nobody_is_asked_about_others_or_what_is_known(
    agents: Agents, known: Event, sender: Sender | None
) -> None:
    assert agents.identify(known)(event(), sender) == known
    assert agents.asked == []
    assert UserAgents(lambda event, sender: known).identify(event(), sender) == known


@pytest.mark.parametrize("key", ["pid", "executable", "command"])
@pytest.mark.parametrize("value", [None, -1, 0, 1.5, [], {}, 10**30])
def test_a_strange_answer_is_none(agents: Agents, key: str, value: Any) -> None:
    agents.answer = ANSWER | {key: value}
    assert agents.identify()(event(), SENDER) == UNCERTAIN
    agents.answer = {"whose": 7}
    assert agents.identify()(event(), SENDER) == UNCERTAIN
    agents.answer = None
    assert agents.identify()(event(), SENDER) == UNCERTAIN


def test_long_text_is_cut_and_can_be_stored(agents: Agents) -> None:
    agents.answer = ANSWER | {"executable": "/" + "x" * 10_000, "command": "\udc80"}
    found = agents.identify()(event(), SENDER)
    assert len(found.executable) == 256
    found.command.encode()


def test_an_agent_that_is_slow_holds_up_the_record_for_a_second_a_minute_at_most(agents: Agents) -> None:
    agents.seconds = 10
    identify = agents.identify()
    for _ in range(100):
        assert identify(event(), SENDER) == UNCERTAIN
    assert len(agents.asked) == 4
    assert agents.now <= 1001.5
    agents.now += 60
    agents.seconds = 0
    assert identify(event(), SENDER).who == SAID
