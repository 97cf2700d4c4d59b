"""monitor.py: real transactions in a network namespace, and hostile bytes."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stunwall.wall import monitor
from stunwall.wall.monitor import Change, RulesetMonitor
from stunwall.wall.nft import Nft

ROOT = Path(__file__).resolve().parents[3]
AGENT, RULES = ROOT / "agent", ROOT / "rules" / "stunwall.nft"


def other(*arguments: str, text: str | None = None) -> None:
    """Another program."""
    subprocess.run(["nft", *arguments], input=text, text=True, check=True)


@pytest.fixture
def followed(nft: Nft) -> Iterator[RulesetMonitor]:
    other("flush", "ruleset")
    other("-f", str(RULES))
    one = RulesetMonitor(lambda: nft.port)
    yield one
    one.close()
    other("flush", "ruleset")


def test_nothing_has_changed(followed: RulesetMonitor) -> None:
    assert not select.select([followed], [], [], 0)[0]
    assert followed.take() is None


@pytest.mark.parametrize(
    ("text", "wiped"),
    [
        ("flush ruleset", True),
        ("delete table inet stunwall", True),
        ("flush ruleset\nadd table inet stunwall", True),
        ("flush table inet stunwall", False),
        ("flush chain inet stunwall hand_over", False),
        ("add rule inet stunwall allow_rules accept", False),
        ("add chain inet stunwall more", False),
        ("add element inet stunwall vpn { wg0 }", False),
        ("add table inet stunwall { flags dormant; }", False),
    ],
)
def test_a_change_of_the_wall_is_told_with_its_maker(
    followed: RulesetMonitor, text: str, wiped: bool
) -> None:
    other("-f", "-", text=text)
    assert select.select([followed], [], [], 0)[0]
    change = followed.take()
    assert change is not None
    assert change.who.startswith("nft (pid ")
    assert change.wiped == wiped
    assert followed.take() is None


def test_the_file_loaded_again_wipes_no_set(followed: RulesetMonitor) -> None:
    other("-f", str(RULES))
    change = followed.take()
    assert change is not None
    assert not change.wiped


@pytest.mark.parametrize(
    "text",
    [
        "add table inet other\nadd chain inet other stunwall\nadd rule inet other stunwall accept",
        "add table inet other\ndelete table inet other",
        "add table netdev stunwall\nadd chain netdev stunwall c\ndelete table netdev stunwall",
    ],
)
def test_other_tables_are_no_change(followed: RulesetMonitor, text: str) -> None:
    other("-f", "-", text=text)
    assert select.select([followed], [], [], 0)[0]
    assert followed.take() is None


OURS = [
    "delete table inet stunwall",
    "flush chain inet stunwall hand_over",
    "add element inet stunwall vpn { wg0 }",
    "add rule inet stunwall allow_rules accept",
]


@pytest.mark.parametrize("text", OURS)
def test_our_own_transactions_are_no_change(followed: RulesetMonitor, nft: Nft, text: str) -> None:
    nft.apply(text)
    assert select.select([followed], [], [], 0)[0]
    assert followed.take() is None


def test_another_programs_change_among_ours_is_told(followed: RulesetMonitor, nft: Nft) -> None:
    nft.apply(OURS[2])
    other(OURS[3])
    nft.apply(OURS[1])
    change = followed.take()
    assert change is not None
    assert change.who.startswith("nft (pid ")
    assert not change.wiped


def test_another_context_of_this_process_is_another_program(followed: RulesetMonitor) -> None:
    with closing(Nft()) as second:
        second.apply(OURS[3])
    assert followed.take() is not None


def test_in_a_process_namespace_of_its_own_the_port_still_tells_who_it_was(lab: None) -> None:
    script = """
from stunwall.wall.monitor import RulesetMonitor
from stunwall.wall.nft import Nft
import subprocess
nft = Nft()
nft.apply("add table inet stunwall; add chain inet stunwall c")
monitor = RulesetMonitor(lambda: nft.port)
nft.apply("add rule inet stunwall c accept")
print(monitor.take())
subprocess.run(["nft", "add rule inet stunwall c drop"], check=True)
print(monitor.take().who.startswith("nft (pid "))
nft.apply("delete table inet stunwall")
print(monitor.take())
"""
    command = ["unshare", "--pid", "--fork", "--net", sys.executable, "-c", script]
    done = subprocess.run(
        command, text=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(AGENT)}
    )
    assert done.stdout.split() == ["None", "True", "None"], done.stderr


def test_of_several_makers_the_one_that_wiped_is_told(followed: RulesetMonitor) -> None:
    other("-f", "-", text="delete table inet stunwall")
    wiped = followed.take()
    other("-f", str(RULES))
    other("-f", "-", text="delete table inet stunwall")
    other("-f", str(RULES))
    change = followed.take()
    assert wiped is not None
    assert change is not None
    assert change.wiped
    assert change.who != wiped.who


def test_words_that_were_lost_count_as_a_change_of_nobody(followed: RulesetMonitor) -> None:
    # More than the socket's buffer holds: rules of another table, and nobody reads meanwhile.
    other(
        "-f",
        "-",
        text="add table inet other\nadd chain inet other c\n" + "add rule inet other c accept\n" * 20000,
    )
    assert followed.take() == Change("", wiped=False)


def test_a_maker_without_a_name_is_not_known() -> None:
    assert monitor._program({}) == ""
    assert monitor._program({2: b"\0\0\3\x2c", 3: b"nft\0"}) == "nft (pid 812)"
    assert monitor._program({2: b"\0", 3: b"nft\0"}) == ""
