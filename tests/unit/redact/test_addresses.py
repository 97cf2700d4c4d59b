"""redact/addresses.py: prefixes that addresses share, their pseudonyms share, and ranges keep their meaning."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stunwall.model import Address
from stunwall.redact.addresses import KEY, LONGEST, Addresses

ONE, OTHER = Addresses(bytes(KEY)), Addresses(bytes([7]) * KEY)
PUBLIC_6 = ip_network("2000::/3")


def shared(one: Address, other: Address) -> int:
    """How many bits two addresses have in common before the first that differs."""
    return one.max_prefixlen - (int(one) ^ int(other)).bit_length()


@given(st.ip_addresses(v=4), st.integers(LONGEST[4], 31), st.integers(0, 2**32 - 1))
@example(IPv4Address("10.0.0.1"), 24, 0)
@example(IPv4Address("203.0.112.255"), 31, 0)
def test_ipv4_addresses_share_as_many_bits_as_their_pseudonyms(
    address: IPv4Address, bits: int, rest: int
) -> None:
    _compare(address, bits, rest)


@given(st.ip_addresses(v=6, network=PUBLIC_6), st.integers(LONGEST[6], 127), st.integers(0, 2**128 - 1))
@example(IPv6Address("2001:db8::1"), 64, 0)
def test_ipv6_addresses_share_as_many_bits_as_their_pseudonyms(
    address: IPv6Address, bits: int, rest: int
) -> None:
    _compare(address, bits, rest)


def _compare(address: Address, bits: int, rest: int) -> None:
    mask = 2 ** (address.max_prefixlen - bits) - 1
    other = type(address)(int(address) & ~mask | rest & mask)
    loopback = {"127.0.0.1", "0.0.0.0", "255.255.255.255"} & {str(address), str(other)}
    if not loopback:
        assert shared(ONE.pseudonym(address), ONE.pseudonym(other)) == shared(address, other)


@pytest.mark.parametrize(
    ("network", "others"),
    [("81.0.0.0/8", range(9, 24)), ("2a02::/16", range(17, 48)), ("10.0.0.0/8", range(9, 24))],
)
def test_shorter_prefixes_are_shared_too_within_a_range(network: str, others: range) -> None:
    first: Address = ip_network(network)[1]
    for bits in others:
        other: Address = ip_address(int(first) ^ 1 << first.max_prefixlen - bits - 1)
        assert shared(ONE.pseudonym(first), ONE.pseudonym(other)) == bits


@pytest.mark.parametrize(
    "network", ["81.2.64.0/20", "192.168.0.0/20", "10.1.0.0/20", "223.255.240.0/20", "2001:db8::/116"]
)
def test_on_a_prefix_the_pseudonyms_are_those_of_another_prefix_one_to_one(network: str) -> None:
    addresses: list[Address] = [*ip_network(network)]
    pseudonyms = {ONE.pseudonym(each) for each in addresses}
    assert len(pseudonyms) == len(addresses)
    assert len({int(each) >> each.max_prefixlen - ip_network(network).prefixlen for each in pseudonyms}) == 1


SPECIAL = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4", "64:ff9b::/96", "2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/10"),
    *("ff00::/8", "3fff::/20"),
]


@pytest.mark.parametrize("network", SPECIAL)
def test_a_range_with_a_meaning_keeps_it(network: str) -> None:
    inside = ip_network(network)
    assert ONE.pseudonym(inside[-2]) in inside
    assert ONE.pseudonym(inside[-2]) != OTHER.pseudonym(inside[-2])


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6, network=PUBLIC_6)))
def test_no_other_address_gets_a_pseudonym_in_such_a_range(address: Address) -> None:
    def special(one: Address) -> list[str]:
        return [
            each for each in SPECIAL if one.version == ip_network(each).version and one in ip_network(each)
        ]

    assert special(ONE.pseudonym(address)) == special(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::", "255.255.255.255"])
def test_what_is_the_same_on_all_machines_stays(address: str) -> None:
    assert str(ONE.pseudonym(ip_address(address))) == address


def test_a_bit_is_flipped_by_all_the_bits_before_it() -> None:
    network: list[Address] = [*ip_network("81.2.69.0/24")]
    changes = {int(each) ^ int(ONE.pseudonym(each)) for each in network}
    assert len(changes) > 32  # of 128 that are possible, as nothing depends on the last bit


def test_addresses_of_one_ip_version_say_nothing_of_the_other() -> None:
    four, six = ip_address("33.2.69.142"), ip_address("2102:458e::")
    assert four.packed == six.packed[:4]
    changed = int(four) ^ int(ONE.pseudonym(four)), (int(six) ^ int(ONE.pseudonym(six))) >> 96
    assert changed[0] & 0xFFFFFF != changed[1] & 0xFFFFFF  # the first three bits of `six` stay


def test_the_pseudonym_depends_on_the_whole_key_and_on_nothing_else() -> None:
    address = ip_address("81.2.69.142")
    assert ONE.pseudonym(address) == Addresses(bytes(KEY)).pseudonym(address)
    found = {Addresses(bytes(at) + b"\1" + bytes(KEY - 1 - at)).pseudonym(address) for at in range(KEY)}
    assert len(found) == KEY
