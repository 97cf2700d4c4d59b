"""Damage to real inputs, for hypothesis: flipped bits, lies about lengths, cuts, splices of two of them."""

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

Edit = Callable[[bytes, int, int, bytes], bytes]


def _flip(raw: bytes, at: int, value: int, other: bytes) -> bytes:
    return raw[:at] + bytes(each ^ 1 << value % 8 for each in raw[at : at + 1]) + raw[at + 1 :]


def _set(raw: bytes, at: int, value: int, other: bytes) -> bytes:
    return raw[:at] + bytes([value % 256]) + raw[at + 1 :]


def _length(raw: bytes, at: int, value: int, other: bytes) -> bytes:
    """A number of 16 bits that is close to what follows it."""
    length = (len(raw) - at - 2 + value % 41 - 20) % 0x10000
    return raw[:at] + length.to_bytes(2, "big") + raw[at + 2 :]


def _cut(raw: bytes, at: int, value: int, other: bytes) -> bytes:
    return raw[:at]


def _delete(raw: bytes, at: int, value: int, other: bytes) -> bytes:
    return raw[:at] + raw[at + value % 24 :]


def _insert(raw: bytes, at: int, value: int, other: bytes) -> bytes:
    return raw[:at] + other[: value % 64] + raw[at:]


def _splice(raw: bytes, at: int, value: int, other: bytes) -> bytes:
    return raw[:at] + other[value % (len(other) + 1) :]


_EDITS: tuple[Edit, ...] = (_flip, _set, _length, _cut, _delete, _insert, _splice)


def damaged(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A seed after up to five edits."""
    edits = st.tuples(
        st.sampled_from(_EDITS), st.integers(0, 400), st.integers(0, 0xFFFF), st.sampled_from(seeds)
    )
    return st.builds(_edited, st.sampled_from(seeds), st.lists(edits, max_size=5))


def _edited(raw: bytes, edits: list[tuple[Edit, int, int, bytes]]) -> bytes:
    for edit, at, value, other in edits:
        raw = edit(raw, at % (len(raw) + 1), value, other)
    return raw
