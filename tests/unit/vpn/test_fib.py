"""fib.py: what the kernel never says must not end in a traceback either. test_walk.py has what it does say."""

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from stunwall import netlink
from stunwall.netlink import Message, attribute
from stunwall.vpn import fib
from stunwall.vpn.fib import Action, Rule

HEADERS = st.builds(
    lambda *fields: struct.pack("=BBBBBBBBI", *fields),
    st.sampled_from((2, 10, 10, 7)),
    *[st.integers(0, 255)] * 6,
    st.integers(0, 10),  # action or type
    st.integers(0, 0xFFFFFFFF),
)
ATTRIBUTES = st.lists(
    st.builds(
        attribute,
        st.integers(0, 31),
        st.one_of(st.binary(max_size=20), st.sampled_from((bytes(4), bytes(16)))),
    )
).map(b"".join)
TO = (ip_address("203.0.113.1"), ip_address("2001:db8::1"))


def message(body: bytes) -> Message:
    (made,) = netlink.messages(netlink.message(24, 0, 1, body))
    return made


@given(HEADERS, ATTRIBUTES, st.integers(0, 8))
def test_random_messages_are_parsed_or_passed_over(header: bytes, attributes: bytes, cut: int) -> None:
    whole = header + attributes
    one = message(whole[: len(whole) - cut])
    fib.rule(one)
    for destination in TO:
        found = fib.route(one, [destination])
        assert found is None or destination in found.destination


def test_an_action_that_is_not_known_drops_as_in_the_kernel() -> None:
    """net/ipv4/fib_rules.c, fib4_rule_action: `default` is FR_ACT_BLACKHOLE."""
    header = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 0, 0, 5, 0)
    assert fib.rule(message(header)) == Rule(4, 0, Action.BLACKHOLE, 254)
