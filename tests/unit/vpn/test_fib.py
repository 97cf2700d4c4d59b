"""fib.py: what the kernel never says must not end in a traceback either. test_walk.py has what it does say."""

import struct
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from stunwall import netlink
from stunwall.netlink import Message, attribute
from stunwall.vpn import fib
from stunwall.vpn.fib import Action, Rule, Type

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
        found = fib.route(one, fib.leading_to([destination]))
        assert found is None or destination in found.destination


ADDRESSES = {4: st.ip_addresses(v=4), 6: st.ip_addresses(v=6)}


@given(st.data(), st.sampled_from((4, 6)))
def test_exactly_the_routes_to_an_address_are_wanted(data: st.DataObject, version: int) -> None:
    address = data.draw(ADDRESSES[version])
    length = data.draw(st.integers(0, address.max_prefixlen))
    start = data.draw(st.one_of(st.just(address), ADDRESSES[version]))
    to = ip_network((start, length), strict=False)
    header = struct.pack("=BBBBBBBBI", {4: 2, 6: 10}[version], length, 0, 0, 254, 0, 0, Type.UNICAST, 0)
    table, packed = attribute(15, bytes((254, 0, 0, 0))), attribute(1, to.network_address.packed)
    one = message(header + table + (packed if length else b""))
    for each in (*TO, address):
        found = fib.route(one, fib.leading_to([each]))
        assert (found.destination if found else None) == (to if each in to else None)


def test_an_action_that_is_not_known_drops_as_in_the_kernel() -> None:
    """net/ipv4/fib_rules.c, fib4_rule_action: `default` is FR_ACT_BLACKHOLE."""
    header = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 0, 0, 5, 0)
    assert fib.rule(message(header)) == Rule(4, 0, Action.BLACKHOLE, 254)
