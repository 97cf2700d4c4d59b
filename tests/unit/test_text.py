"""text.py: how values read in text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.text import count, endpoint, printable


@pytest.mark.parametrize(
    ("address", "port", "written"),
    [("203.0.113.7", 3478, "203.0.113.7:3478"), ("2001:db8::7", 1, "[2001:db8::7]:1"), ("::", 0, "[::]:0")],
)
def test_addresses_are_written_as_in_urls(address: str, port: int, written: str) -> None:
    assert endpoint(address, port) == written


@pytest.mark.parametrize(
    ("number", "written"), [(0, "0 packets"), (1, "1 packet"), (2, "2 packets"), (12345, "12,345 packets")]
)
def test_nouns_are_counted(number: int, written: str) -> None:
    assert count(number, "packet") == written


@given(st.text())
def test_nothing_that_a_terminal_would_obey_is_left(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(c.isprintable() for c in shown)
    assert all(c in (before, "?") for c, before in zip(shown, text, strict=True))
