"""text.py: values formatted for people."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall import text
from stunwall.text import count, endpoint, printable
from unit.recorded import event


@pytest.mark.parametrize(
    ("address", "port", "written"),
    [("203.0.113.7", 3478, "203.0.113.7:3478"), ("2001:db8::7", 1, "[2001:db8::7]:1"), ("::", 0, "::")],
)
def test_endpoints_are_written_as_in_urls_without_an_unknown_port(
    address: str, port: int, written: str
) -> None:
    assert endpoint(address, port) == written


@pytest.mark.parametrize(
    ("number", "written"), [(0, "0 packets"), (1, "1 packet"), (2, "2 packets"), (12345, "12,345 packets")]
)
def test_counts_have_the_right_plural(number: int, written: str) -> None:
    assert count(number, "packet") == written


@pytest.mark.parametrize(("number", "written"), [(1, "1 entry"), (2, "2 entries")])
def test_irregular_plurals_can_be_given(number: int, written: str) -> None:
    assert count(number, "entry", "entries") == written


@given(st.text())
def test_control_characters_are_replaced(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(c.isprintable() for c in shown)
    assert all(c in (before, "?") for c, before in zip(shown, text, strict=True))


def test_a_machine_behind_this_one_is_named_so_that_it_is_no_program_of_this_one() -> None:
    client = replace(event(1), source="10.77.0.11", incoming="lan0")
    assert text.machine(replace(client, client="firefox")) == "firefox@lan0"
    assert text.machine(client) == "10.77.0.11"
    assert text.machine(replace(client, incoming="", client="firefox")) == ""
