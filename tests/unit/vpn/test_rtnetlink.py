"""rtnetlink.py: what the kernel says about interfaces, in a namespace of the test's own."""

import subprocess
from collections.abc import Iterator

import pytest
from pyroute2 import IPRoute

from stunwall.vpn.interfaces import Link, Snapshot
from stunwall.vpn.rtnetlink import Rtnetlink
from unit.tun import ip

IFAPROT_KERNEL_RA = 2  # linux/if_addr.h

LINKS = """
    link add nst type bridge
    link add nsv0 type veth peer name nsv1
    link set nsv0 master nst
    link add nsm link nsv1 type macvlan
    tuntap add dev nstap mode tap
    tuntap add dev nstun mode tun
"""
MADE = ("nst", "nsv1", "nstap", "nstun")  # the others go with these


@pytest.fixture
def links(lab: None) -> Iterator[None]:
    for line in LINKS.split("\n"):
        if words := line.split():
            ip(*words)
    yield
    for name in MADE:
        subprocess.run(["ip", "link", "del", name], check=True)


@pytest.fixture
def snapshot(links: None) -> Snapshot:
    return taken()


def taken() -> Snapshot:
    rtnetlink = Rtnetlink(frozenset({4, 6}))
    try:
        rtnetlink.read()
        return rtnetlink.snapshot()
    finally:
        rtnetlink.close()


def by_name(snapshot: Snapshot) -> dict[str, Link]:
    return {link.name: link for link in snapshot.links}


def test_the_kind_of_each_link_is_read(snapshot: Snapshot) -> None:
    found = {name: (link.kind, link.tap) for name, link in by_name(snapshot).items() if name.startswith("ns")}
    assert found == {
        "nst": ("bridge", False),
        "nsv0": ("veth", False),
        "nsv1": ("veth", False),
        "nsm": ("macvlan", False),
        "nstap": ("tun", True),
        "nstun": ("tun", False),
    }


def test_bridges_pairs_and_what_lies_on_another_link_are_read(snapshot: Snapshot) -> None:
    links = by_name(snapshot)
    assert {name: link.master for name, link in links.items() if link.master} == {"nsv0": links["nst"].index}
    assert {name: link.peer for name, link in links.items() if link.peer} == {
        "nsv0": links["nsv1"].index,
        "nsv1": links["nsv0"].index,
        "nsm": links["nsv1"].index,
    }


def test_the_other_end_of_a_pair_in_another_namespace_is_no_peer(links: None) -> None:
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; read x"], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None
        other.stdout.readline()  # it has its namespace
        try:
            ip("link", "add", "nsx", "type", "veth", "peer", "name", "eth0", "netns", str(other.pid))
            assert by_name(taken())["nsx"].peer == 0
        finally:
            other.communicate(b"\n")


@pytest.mark.parametrize(
    ("address", "lifetime", "expected"),
    [
        ("10.9.9.1/24", (), False),
        ("fd99::1/64", (), False),
        ("10.9.9.1/24", ("valid_lft", "1000", "preferred_lft", "1000"), True),
        ("fd99::1/64", ("valid_lft", "1000", "preferred_lft", "1000"), True),
    ],
)
def test_an_address_with_a_lifetime_is_dynamic(
    links: None, address: str, lifetime: tuple[str, ...], expected: bool
) -> None:
    ip("addr", "add", address, "dev", "nst", *lifetime)
    snapshot = taken()
    assert (by_name(snapshot)["nst"].index in snapshot.dynamic) is expected


def test_an_address_from_a_router_advertisement_is_dynamic_also_if_it_stays(links: None) -> None:
    index = by_name(taken())["nst"].index
    with IPRoute() as netlink:  # iproute2 cannot set it before 6.3
        netlink.addr("add", index=index, address="fd99::1", prefixlen=64, proto=IFAPROT_KERNEL_RA)
    assert index in taken().dynamic
