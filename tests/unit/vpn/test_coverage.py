"""coverage.py: what is counted route by route is what all routes hold together."""

from ipaddress import collapse_addresses, ip_network

from hypothesis import given
from hypothesis import strategies as st

from stunwall.vpn import coverage
from stunwall.vpn.coverage import Block, Coverage

HALF = {4: 1 << 31, 6: 1 << 124}


def blocks(version: int, longest: int) -> st.SearchStrategy[Block]:
    """Networks of few bits, so that they often meet; those of IPv6 mostly in 2000::/3."""
    bits = 32 if version == 4 else 128
    return st.tuples(st.integers(0, (1 << longest) - 1), st.integers(0, longest)).map(
        lambda given: (given[0] >> longest - given[1] << bits - given[1], given[1])
    )


def oracle(found: list[Block], version: int) -> bool:
    """Whether they hold more than half of the Internet, by the ipaddress module."""
    whole = ip_network("0.0.0.0/0" if version == 4 else "2000::/3")
    size = 4 if version == 4 else 16
    networks = [ip_network((start.to_bytes(size), length)) for start, length in found]
    if any(whole.subnet_of(network) for network in networks):  # type: ignore[arg-type]
        return True
    parts = [network for network in networks if network.subnet_of(whole)]  # type: ignore[arg-type]
    return sum(network.num_addresses for network in collapse_addresses(parts)) > HALF[version]  # type: ignore[type-var, misc]


@given(st.sampled_from((4, 6)).flatmap(lambda v: st.tuples(st.just(v), st.lists(blocks(v, 5), max_size=30))))
def test_more_than_half_is_what_the_ipaddress_module_says(given: tuple[int, list[Block]]) -> None:
    version, found = given
    assert coverage.covers(found, version) is oracle(found, version)


@given(
    st.sampled_from((4, 6)).flatmap(
        lambda v: st.tuples(
            st.just(v), st.lists(st.tuples(st.booleans(), st.booleans(), blocks(v, 5)), max_size=40)
        )
    )
)
def test_added_and_removed_one_by_one_they_cover_what_is_left(
    given: tuple[int, list[tuple[bool, bool, Block]]],
) -> None:
    version, steps = given
    tables, left = (Coverage(version), Coverage(version)), (list[Block](), list[Block]())
    for adds, second, block in steps:
        if adds:
            tables[second].add(block)
            left[second].append(block)
        elif block in left[second]:
            tables[second].add(block, -1)
            left[second].remove(block)
        every = [*left[0], *left[1]]
        assert coverage.cover(tables, every, version) is oracle(every, version)


def test_narrow_networks_count_where_they_tip_the_scales() -> None:
    half, narrow = (0, 1), [(1 << 31 | number << 8, 24) for number in range(3)]
    table = Coverage(4)
    table.add(half)
    assert not coverage.cover([table], [half], 4)
    for block in narrow:
        table.add(block)
    assert coverage.cover([table], [half, *narrow], 4)
    for block in narrow:
        table.add(block, -1)
    inside = (5 << 8, 24)
    table.add(inside)
    assert not coverage.cover([table], [half, inside], 4)
