"""Payloads that come close to STUN, for hypothesis: messages with everything slightly wrong, at every framing."""

from hypothesis import strategies as st

from stunwall.stun.message import CLASSIC_TYPES
from vectors.others import OTHERS
from vectors.programs import (
    PSEUDO_TLS,
    SAMPLES,
    TELEGRAM_PEER,
    TELEGRAM_SELF,
    attribute,
    classic,
    framed,
    message,
    ms_turn,
    teams,
    telegram,
)

_bodies = st.one_of(
    st.binary(max_size=64),
    st.lists(
        st.builds(attribute, st.integers(0, 0xFFFF), st.binary(max_size=24), st.booleans()), max_size=6
    ).map(b"".join),
)
_types = st.one_of(st.integers(0, 0xFFFF), st.sampled_from(sorted(CLASSIC_TYPES)))
_lengths = st.one_of(st.none(), st.integers(0, 80), st.integers(0, 0xFFFF))
_messages = st.builds(message, _types, _bodies, _lengths)
_classics = st.builds(classic, _types, _bodies, _lengths)
_exact = st.builds(classic, st.sampled_from(sorted(CLASSIC_TYPES)), _bodies)
# To a guarded port: the beginnings of TLS, DTLS and ChannelData, whole, cut, and what looks like them.
_heads = st.builds(
    lambda first, second, rest: bytes([first, second]) + rest,
    st.sampled_from([0x00, 0x01, 0x08, 0x09, 0x14, 0x16, 0x19, 0x1A, 0x40, 0x47, 0x48, 0x4F, 0x50]),
    st.sampled_from([0x00, 0x03, 0xFE, 0x45]),
    st.binary(max_size=12),
)
# What Telegram asks its relays, and Microsoft's hello: cut, or with something behind.
_special = st.builds(
    lambda whole, cut, rest: whole[: len(whole) - cut] + rest,
    st.sampled_from([TELEGRAM_SELF, TELEGRAM_PEER, PSEUDO_TLS]),
    st.integers(0, 24),
    st.binary(max_size=12),
)
_cut_heads = st.builds(lambda head, size: head[:size], _heads, st.integers(0, 9))

SAMPLE_PAYLOADS = st.sampled_from([sample.payload for sample in SAMPLES] + [other[3] for other in OTHERS])


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.one_of(SAMPLE_PAYLOADS, _messages, _classics)))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=4)):
        if at < len(raw):
            raw[at] = value
    cut = draw(st.one_of(st.just(0), st.integers(0, 30)))
    return bytes(raw[: len(raw) - cut]) + draw(st.one_of(st.just(b""), st.binary(max_size=8)))


PAYLOADS = st.one_of(
    st.binary(max_size=100),
    _messages,
    _classics,
    _exact,
    st.one_of(_messages, _classics).map(framed),
    st.one_of(_messages, _classics).map(teams),
    st.one_of(_messages, _classics).map(telegram),
    st.builds(ms_turn, st.one_of(_messages, _classics), st.integers(1, 4)),
    _special,
    _heads,
    _cut_heads,
    SAMPLE_PAYLOADS,
    _damaged(),
)
