"""Text of strangers on its way to the terminal: no control character, no bidi override, no line of its own."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.cli import terminal
from stunwall.text import endpoint, printable
from unit.cli.command import HOSTILE

# What a terminal obeys, or shows in another place or not at all: controls, formats such as bidi overrides, surrogates,
# private use, unassigned, line and paragraph separators.
OBEYED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
TEXTS = st.one_of(
    st.text(st.characters(), max_size=80),
    st.text(st.sampled_from(f"{HOSTILE}\u2066\u2069\u200f\ufeff\ud800\xa0\t ab-"), max_size=80),
)


def assert_plain(text: str) -> None:
    assert not OBEYED & {unicodedata.category(each) for each in text}, ascii(text)


@given(TEXTS)
def test_printable_text_is_plain_as_long_as_before_and_the_same_if_it_was(text: str) -> None:
    shown = printable(text)
    assert_plain(shown)
    assert len(shown) == len(text)
    assert printable(shown) == shown
    assert text.isascii() is False or all(a in (b, "?") for a, b in zip(shown, text, strict=True))


@pytest.mark.parametrize("on_a_terminal", [True, False])
@given(TEXTS, st.integers(1, 100))
def test_a_cell_is_as_wide_as_its_column(
    monkeypatch: pytest.MonkeyPatch, on_a_terminal: bool, text: str, columns: int
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: on_a_terminal, raising=False)
    cell = terminal.cut(printable(text), columns)
    assert_plain(cell)
    assert len(cell) == columns or (not on_a_terminal and cell == printable(text))


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4), st.integers(0, 40))
def test_rows_are_plain_lines_that_begin_with_a_name_or_are_indented(
    capsys: pytest.CaptureFixture[str], pairs: list[tuple[str, str]], indent: int
) -> None:
    terminal.rows(pairs, indent)
    lines = capsys.readouterr().out.split("\n")
    assert lines.pop() == ""
    begun = [line for line in lines if not indent or not line.startswith(" " * indent) or not line.strip()]
    for line in lines:
        assert_plain(line)
    assert len(begun) >= 0


@given(TEXTS, st.integers(-(2**63), 2**63))
def test_an_endpoint_ends_with_its_port_if_that_is_known(address: str, port: int) -> None:
    assert endpoint(address, port).endswith(f":{port}" if port else address)
