"""The made-up servers of a check: what is sent to them is taken out, and nothing else; no element outlives its time."""

from ipaddress import ip_address

import pytest

from stunwall.wall import table
from stunwall.wall.nft import Nft, NftError
from unit.wall_kernel import FULL, MASK, damage, listed, until

pytestmark = pytest.mark.usefixtures("clear")
SERVERS = {(ip_address("203.0.113.77"), 40000): False, (ip_address("2001:db8:77::1"), 40001): True}


def test_servers_are_put_in_and_taken_out_and_the_table_counts_as_intact(nft: Nft) -> None:
    table.load(nft, FULL, MASK)
    table.check(nft, SERVERS, 60)
    assert "203.0.113.77 . 40000" in listed()
    assert "2001:db8:77::1 . 40001" in listed()
    assert damage(FULL) == ()
    table.end_check(nft, SERVERS)
    assert "203.0.113.77" not in listed()
    with pytest.raises(NftError):
        table.end_check(nft, SERVERS)


def test_the_kernel_ends_it(nft: Nft) -> None:
    table.load(nft, FULL, MASK)
    table.check(nft, SERVERS, 1)
    until(lambda: "203.0.113.77" not in listed())


def test_a_table_that_replaces_another_keeps_them(nft: Nft) -> None:
    table.load(nft, FULL, MASK)
    table.check(nft, SERVERS, 60)
    table.load(nft, FULL, MASK)
    assert "203.0.113.77 . 40000" in listed()
