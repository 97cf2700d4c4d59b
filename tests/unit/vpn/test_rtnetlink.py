"""rtnetlink.py: what the kernel says about interfaces, in a namespace of the test's own."""

import select
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from stunwall import netlink
from stunwall.vpn import messages
from stunwall.vpn.interfaces import Link, Snapshot
from stunwall.vpn.messages import Read
from stunwall.vpn.network import Network
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
    network = Rtnetlink(frozenset({4, 6}))
    try:
        network.read()
        return network.snapshot()
    finally:
        network.close()


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


def test_interfaces_with_neighbours_are_told_from_point_to_point_ones(links: None) -> None:
    ip("link", "add", "link", "nst", "nsarp", "arp", "off", "type", "macvlan")
    shared = {name for name, link in by_name(taken()).items() if name.startswith("ns") and link.shared}
    assert shared == {"nst", "nsv0", "nsv1", "nsm", "nstap"}


def test_all_addresses_of_a_link_are_read_with_its_own_end_of_a_point_to_point_link(links: None) -> None:
    ip("link", "set", "nstun", "up", "addrgenmode", "none")
    for address in (("10.9.9.1/24",), ("192.0.0.1", "peer", "192.0.0.2"), ("fd99::1/64",), ("fe80::9/64",)):
        ip("addr", "add", *address, "dev", "nstun")
    snapshot = taken()
    index = by_name(snapshot)["nstun"].index
    expected = [ip_address(text) for text in ("10.9.9.1", "192.0.0.1", "fd99::1", "fe80::9")]
    assert sorted(map(str, snapshot.all_addresses[index])) == sorted(map(str, expected))
    assert snapshot.addresses[index, 4] == expected[0]


def test_a_name_that_is_not_utf8_is_read_as_python_names_files(links: None) -> None:
    ip("link", "add", "nsx\udcff", "type", "bridge")
    try:
        assert by_name(taken())["nsx\udcff"].kind == "bridge"
    finally:
        ip("link", "del", "nsx\udcff")


def test_the_rule_for_vrfs_leads_to_the_table_of_each_vrf() -> None:
    """Written and read by pyroute2, as a kernel without VRF cannot show them."""
    vrf = ifinfmsg()
    vrf["attrs"] = [
        ("IFLA_IFNAME", "red"),
        (
            "IFLA_LINKINFO",
            {"attrs": [("IFLA_INFO_KIND", "vrf"), ("IFLA_INFO_DATA", {"attrs": [("IFLA_VRF_TABLE", 77)]})]},
        ),
    ]
    vrf.encode()
    (said,) = netlink.messages(bytes(vrf.data))
    read = messages.link(said)
    assert read is not None
    assert (read[0].name, read[0].kind, read[0].table, read[0].shared) == ("red", "vrf", 77, False)
    for attributes, expected in (
        ([("FRA_L3MDEV", 1)], messages.TABLES_OF_VRFS),
        ([("FRA_TABLE", 300)], 300),
        ([], 254),
    ):
        rule = fibmsg()
        rule["family"], rule["action"], rule["table"], rule["attrs"] = 2, 1, 254, attributes
        rule.encode()
        (said,) = netlink.messages(bytes(rule.data))
        assert messages.rule(said) == (4, expected)


def test_the_tables_of_vrfs_are_reached_while_a_rule_leads_to_them() -> None:
    network = Network(frozenset({4}))
    vrf, rule = ifinfmsg(), fibmsg()
    details = {"attrs": [("IFLA_VRF_TABLE", 77)]}
    vrf["index"] = 9
    vrf["attrs"] = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "vrf"), ("IFLA_INFO_DATA", details)]})]
    rule["family"], rule["action"], rule["attrs"] = 2, 1, [("FRA_L3MDEV", 1)]
    for each in (vrf, rule):
        each.encode()
    network.replace_rules(4, netlink.messages(bytes(rule.data)))
    assert network.snapshot({}).tables == {4: set()}
    network.replace_links(netlink.messages(bytes(vrf.data)))
    assert network.snapshot({}).tables == {4: {77}}
    network.remove_link(9)
    assert network.snapshot({}).tables == {4: set()}


def test_when_notifications_are_lost_everything_is_read_again(links: None) -> None:
    network = Rtnetlink(frozenset({4, 6}), lan=True)
    network.read()
    network._changes.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel takes its least
    lines = [f"route add 10.{number}.0.0/16 dev nst" for number in range(200)]
    ip("link", "set", "nst", "up")
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    was_known = []
    while select.select([network], [], [], 0)[0]:
        network.receive()
        was_known.append(network.known)
    assert False in was_known
    assert was_known[-1]
    assert len(network.snapshot().routes) == 200
    network.close()


def test_the_network_counts_as_changed_once_all_of_it_is_known_again(lab: None) -> None:
    network = Rtnetlink(frozenset({4, 6}))
    try:
        network.read()
        network.snapshot()
        network.known = False
        network.network.wanted[Read(messages.GETADDR, 4, 1)] = None  # which brings nothing new
        network.read()
        assert network.network.changed
    finally:
        network.close()


def test_addresses_that_are_as_before_are_no_change(links: None) -> None:
    ip("address", "add", "192.0.2.7/24", "dev", "nsv1")
    network = Rtnetlink(frozenset({4, 6}))
    try:
        network.read()
        index = by_name(network.snapshot())["nsv1"].index
        for changed in (False, True):
            if changed:
                ip("address", "add", "192.0.2.8/24", "dev", "nsv1")
            network.network.wanted[Read(messages.GETADDR, 4, index)] = None
            while network.network.wanted or not network.known:
                network.receive()
            network.receive()
            assert network.network.changed is changed
    finally:
        network.close()
