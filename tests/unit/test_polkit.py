"""polkit.py: what it takes for an answer, and that anything else is a refusal. The lab asks a real polkitd."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from stunwall import bus, polkit
from stunwall.bus import BusError, BusTimeoutError, NoBusError, Object, Received
from stunwall.polkit import ACTIONS, NAME, PAUSE, RELOAD, Answer, PolkitError, Question

POLICY = Path(__file__).parents[2] / "systemd" / "org.stunwall.policy"
OWNER = ":1.2"
YES = Received(OWNER, "", "(bba{ss})", ((True, False, {}),))


class FakeBus:
    """The system bus; a test sets what it knows and what polkit replies."""

    def __init__(self) -> None:
        self.runs, self.activatable = True, False
        self.reply: Any = YES
        self.started = 0
        self.calls: list[tuple[Any, ...]] = []
        self.state = "never opened"
        self.on_call: Callable[[], None] = lambda: None

    def open(self, which: str, descriptors: bool = False) -> "FakeBus":
        assert which == "SYSTEM"
        self.state = "open"
        return self

    def ask_driver(self, method: str, signature: str = "", *values: object) -> tuple[Any, ...]:
        match method:
            case "NameHasOwner":
                return (self.runs,)
            case "ListActivatableNames":
                return (["org.example", *([NAME] if self.activatable else [])],)
            case "StartServiceByName":
                self.started += 1
                return (1,)
            case "GetNameOwner":
                return (OWNER,)
        raise AssertionError(method)

    def call(self, target: Object, method: str, signature: str, *values: object, seconds: float) -> Received:
        self.calls.append((target, method, *values))
        self.on_call()
        if self.state == "interrupted":
            raise BusError("the bus has ended")
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply  # type: ignore[no-any-return]

    def interrupt(self) -> None:
        self.state = "interrupted"

    def close(self) -> None:
        self.state = "closed"


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FakeBus:
    fake = FakeBus()
    monkeypatch.setattr(bus, "Bus", fake.open)
    return fake


def ask(process: tuple[int, int, int] = (5, 4321, 1000), interactive: bool = False) -> Answer:
    return Question(process, PAUSE, "pause it for $(x)\x1b[2J", interactive).ask()


@pytest.mark.parametrize(("interactive", "flags"), [(False, 0), (True, 1)])
def test_it_is_asked_for_the_process_by_pidfd_and_user(
    system: FakeBus, interactive: bool, flags: int
) -> None:
    assert ask(interactive=interactive) is Answer.ALLOWED
    ((target, method, subject, *rest),) = system.calls
    assert (target.owner, method) == (OWNER, "CheckAuthorization"), "only the name's owner may answer"
    named = {"pid": ("u", 4321), "start-time": ("t", 0), "uid": ("i", 1000), "pidfd": ("h", 5)}
    assert subject == ("unix-process", named)
    message = "Authentication is required to pause it for ?(x)?[2J."
    assert rest == [PAUSE, {"polkit.message": message}, flags, ""], (
        "no text but ours gets to the prompt as it is"
    )
    assert system.state == "closed"


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        ((False, False, {}), Answer.DENIED),
        ((False, True, {}), Answer.CHALLENGE),
        ((False, False, {"polkit.dismissed": "true"}), Answer.DISMISSED),
        ((False, True, {"polkit.retains_authorization_after_challenge": "1"}), Answer.CHALLENGE),
        ((1, False, {}), Answer.DENIED),
    ],
)
def test_nothing_but_a_plain_yes_allows_it(system: FakeBus, result: Any, answer: Answer) -> None:
    system.reply = Received(OWNER, "", "(bba{ss})", (result,))
    assert ask() is answer


@pytest.mark.parametrize(
    "reply",
    [
        BusError("gone"),
        BusTimeoutError("late"),
        bus.BusRefusedError("org.freedesktop.PolicyKit1.Error.Failed", "no action"),
        Received(OWNER, "", "", ()),
        Received(OWNER, "", "b", (True,)),
        Received(OWNER, "", "(bb)", ((True, True),)),
    ],
)
def test_what_is_no_answer_is_an_error(system: FakeBus, reply: Any) -> None:
    system.reply = reply
    with pytest.raises(PolkitError):
        ask()
    assert system.state == "closed", "a prompt that is open goes away"


def test_where_it_does_not_run_and_cannot_be_started_it_is_absent(
    system: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.runs = False
    assert ask() is Answer.ABSENT
    assert polkit.known_actions() is None
    system.activatable = True
    assert ask() is Answer.ALLOWED
    assert system.started == 1


@pytest.mark.parametrize(("error", "absent"), [(NoBusError("x"), True), (BusError("x"), False)])
def test_a_bus_that_refuses_is_not_an_absent_one(
    monkeypatch: pytest.MonkeyPatch, error: BusError, absent: bool
) -> None:
    def refuse(which: str, descriptors: bool = False) -> None:
        raise error

    monkeypatch.setattr(bus, "Bus", refuse)
    if absent:
        assert ask() is Answer.ABSENT
        assert polkit.known_actions() is None
    else:
        for call in (ask, polkit.known_actions):
            with pytest.raises(PolkitError):
                call()


@pytest.mark.parametrize(
    "process", [(5, 0, 1000), (5, -1, 1000), (5, 7, 2**31), (5, 7, 2**32 - 1), (5, 7, -1)]
)
def test_a_process_that_it_cannot_be_told_of_is_an_error(
    system: FakeBus, process: tuple[int, int, int]
) -> None:
    with pytest.raises(PolkitError, match="cannot be named"):
        ask(process)
    assert system.calls == []


@pytest.mark.parametrize("before", [True, False])
def test_a_question_can_be_cancelled_before_and_while_it_is_open(system: FakeBus, before: bool) -> None:
    question = Question((5, 4321, 1000), PAUSE, "pause", True)
    if before:
        question.cancel()
    else:
        system.on_call = question.cancel
    with pytest.raises(PolkitError):
        question.ask()
    assert system.state == "closed"


def test_its_actions_are_those_of_the_policy(system: FakeBus) -> None:
    rows = [(action, *[""] * 8, {}) for action in ACTIONS]
    system.reply = Received(OWNER, "", "a(ssssssuuua{ss})", (rows,))
    assert polkit.known_actions() == frozenset(ACTIONS)
    system.reply = Received(OWNER, "", "s", ("x",))
    with pytest.raises(PolkitError, match="unknown form"):
        polkit.known_actions()


def test_the_policy_is_for_each_action_asks_for_a_password_and_lets_the_daemon_ask() -> None:
    actions = ET.parse(POLICY).getroot().findall("action")
    assert [action.get("id") for action in actions] == list(ACTIONS)
    for action in actions:
        defaults = {each.tag: each.text for each in action.iterfind("defaults/*")}
        password = {"allow_any": "auth_admin", "allow_inactive": "auth_admin"}
        kept = "auth_admin_keep" if action.get("id") == RELOAD else "auth_admin"
        assert defaults == password | {"allow_active": kept}
        (owner,) = action.findall("annotate")
        assert (owner.get("key"), owner.text) == ("org.freedesktop.policykit.owner", "unix-user:stunwall")
