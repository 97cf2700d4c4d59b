"""second_lock.py: the table in the kernel, its owner, and the interfaces that it follows."""

import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from stunwall.config import Config
from stunwall.wall import egress, queue_rules, requirements, second_lock
from stunwall.wall.egress import Egress
from stunwall.wall.nft import Nft, NftError
from stunwall.wall.second_lock import SecondLock
from unit.wall_kernel import ADDRESS4, LINK, MASK, SERVER4, Way, ip, run_nft

pytestmark = pytest.mark.usefixtures("clear", "way")


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def lock(nft: Nft, problems: list[str]) -> Iterator[SecondLock]:
    yield SecondLock(nft, MASK, problems.append)
    second_lock.remove(nft)


REDIRECTED = """
add set netdev stunwall redirected4 { type inet_service . ipv4_addr . inet_service; flags dynamic,timeout; timeout 1h; }
add element netdev stunwall redirected4 { 3999 . 203.0.113.7 . 5004 }
"""


def links(*names: str) -> dict[int, str]:
    return dict(enumerate(names, 100))


def wanted(*names: str) -> Egress:
    return Egress(links(*(names or (LINK,))), {}, Config().guard_ports)


def mark(bit: int, port: int = 3478) -> None:
    """Mark the packets to a port, as the first lock marks some."""
    chain = f"type filter hook postrouting priority 0; th dport {port} meta mark set {bit}"
    run_nft("-f", "-", text=f"table inet other {{ chain c {{ {chain}; }}; }}")


def test_stun_that_is_not_marked_is_dropped_and_counted(lock: SecondLock, way: Way) -> None:
    assert way.passes()
    assert lock.state().state == "missing"
    lock.follow(wanted())
    before = lock.state()
    assert (before.state, before.interfaces, before.dropped) == ("up", (LINK,), 0)
    assert not way.passes()
    assert lock.state().dropped == 1


def test_stun_that_the_first_lock_passed_leaves(lock: SecondLock, way: Way) -> None:
    lock.follow(wanted())
    mark(Config().passed_bit)
    assert way.passes()
    assert lock.state().dropped == 0


def test_it_held_if_it_was_whole_before_it_was_looked_at(lock: SecondLock, way: Way, nft: Nft) -> None:
    lock.follow(wanted())
    assert not lock.held  # it was only just made
    run_nft("flush", "ruleset")
    lock.follow(wanted())
    assert lock.held
    second_lock.remove(nft)
    lock.follow(wanted())
    assert not lock.held
    ip("link", "add", "ren0", "index", "101", "type", "veth", "peer", "ren1")
    try:
        lock.follow(wanted(LINK, "ren0"))
        assert not lock.held  # there was a way out without it
        lock.follow(wanted(LINK, "ren0"))
        assert lock.held
    finally:
        ip("link", "delete", "ren0")


def test_nobody_else_changes_it(lock: SecondLock, way: Way) -> None:
    lock.follow(wanted())
    run_nft("flush", "ruleset")
    assert not way.passes()


def test_a_table_of_another_program_is_replaced_and_its_redirected_flows_are_kept(
    lock: SecondLock, way: Way, nft: Nft
) -> None:
    run_nft("-f", "-", text=f"add table netdev stunwall\nadd chain netdev stunwall foreign\n{REDIRECTED}")
    lock.follow(replace(wanted(), redirect=True))
    listed = nft.list_table(egress.TABLE) or ""
    assert "foreign" not in listed
    assert "3999 . 203.0.113.7 . 5004" in listed
    assert not way.passes()
    assert not way.passes(port=5004, payload=b"media")


def test_what_an_earlier_daemon_left_is_replaced_and_its_redirected_flows_are_kept(
    lock: SecondLock, way: Way
) -> None:
    # linux/netfilter/nf_tables.h: NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST, which nft before 1.1 has no words for.
    flags = queue_rules._attribute(2, struct.pack(">I", 6))
    new = queue_rules._message(0x0A00, 0x0405, 5, 0, queue_rules._attribute(1, b"stunwall\0") + flags)
    begin, end = (queue_rules._message(kind, 1, 0, 10, b"") for kind in (0x10, 0x11))
    with closing(Nft()) as earlier:
        earlier.send(begin + new + end)
        earlier.apply(REDIRECTED)
    lock.follow(replace(wanted(), redirect=True))
    assert not way.passes()
    assert not way.passes(port=5004, payload=b"media")
    run_nft("flush", "ruleset")
    assert lock.state().state == "up"


def test_a_table_that_another_program_owns_is_told_until_it_is_gone(
    lock: SecondLock, problems: list[str]
) -> None:
    with closing(Nft()) as other:
        other.apply("table netdev stunwall {\n flags owner\n}\n")
        lock.follow(wanted())
        assert lock.failing
        said = lock.state()
        assert (said.state, said.interfaces) == ("missing", ())
        assert said.why in problems[-1]
        assert second_lock.rules(other) is None
        assert "owns a table netdev stunwall: end that program" in problems[-1]
    lock.follow(wanted())
    assert not lock.failing
    assert problems[-1] == ""
    assert lock.state().state == "up"


def test_it_follows_interfaces(lock: SecondLock, way: Way) -> None:
    lock.follow(wanted())
    lock.follow(wanted(LINK, "lo"))
    assert lock.state().interfaces == ("lo", LINK)
    lock.follow(wanted("lo"))
    assert lock.state().interfaces == ("lo",)


def test_an_interface_that_is_gone_is_in_the_way_of_no_other(
    lock: SecondLock, way: Way, problems: list[str], nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = nft.apply

    def refuse(text: str) -> None:
        if "gone0" in text:  # as kernels before Linux 6.16 do; since then a hook may wait for its device
            raise NftError("Error: Could not process rule: No such file or directory")
        apply(text)

    monkeypatch.setattr(nft, "apply", refuse)
    lock.follow(wanted("gone0", LINK))
    assert lock.failing  # so that it is tried again, if no notification comes
    assert problems == [""]
    assert not way.passes()
    lock.follow(Egress({101: LINK}, {}, Config().guard_ports))
    assert not lock.failing


def test_nothing_is_listed_for_a_change_and_a_link_that_came_again_is_locked_again(
    lock: SecondLock, nft: Nft, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    ip("link", "add", "ren0", "index", "100", "type", "veth", "peer", "ren1")
    try:
        lock.follow(wanted("ren0"))
        with monkeypatch.context() as patch:
            patch.delattr(Nft, "list_chains")
            lock.follow(wanted("ren0", LINK), ())
            ip("link", "delete", "ren0")
            ip("link", "add", "ren0", "index", "100", "type", "veth", "peer", "ren1")
            lock.follow(wanted("ren0", LINK), {100})
        assert lock.state().interfaces == ("ren0", LINK)
        lock.follow(wanted("ren0"), ())
        assert lock.state().interfaces == ("ren0",)
    finally:
        ip("link", "delete", "ren0")


def test_a_link_that_is_renamed_stays_locked(lock: SecondLock, way: Way) -> None:
    ip("link", "add", "ren0", "type", "veth", "peer", "ren1")
    try:
        lock.follow(wanted("ren0"))
        ip("link", "set", "ren0", "name", "ren2")
        lock.follow(wanted("ren2"))
        assert lock.state().interfaces == ("ren2",)
    finally:
        ip("link", "delete", "ren1")


def test_a_name_without_words_is_told(lock: SecondLock, way: Way) -> None:
    lock.follow(wanted(LINK, "od*"))
    said = lock.state()
    assert (said.state, said.interfaces) == ("up", (LINK,))
    assert said.why == "nft has no words for the name of 'od*': rename it"


def test_a_kernel_without_it_is_told_once_and_is_no_problem(
    lock: SecondLock, way: Way, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "table", lambda *_: "nonsense")
    monkeypatch.setattr(requirements, "missing_for_second_lock", lambda refused: "the kernel lacks it")
    for _ in range(2):
        lock.follow(wanted())
    assert not lock.failing
    assert problems == [""]
    assert (lock.state().state, lock.state().why) == ("unsupported", "the kernel lacks it")


def test_a_failure_without_a_known_cause_is_a_problem_and_tried_again(
    lock: SecondLock, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(egress, "table", lambda *_: "nonsense")
        lock.follow(wanted())
    assert lock.failing
    assert "syntax error" in problems[-1]
    lock.follow(wanted())
    assert lock.state().state == "up"


def test_redirected_flows_are_remembered_in_the_vpn_and_dropped_outside(
    lock: SecondLock, way: Way, nft: Nft
) -> None:
    vpn = Egress({}, {100: LINK}, Config().guard_ports, redirect=True)
    lock.follow(vpn)
    mark(Config().redirected_bit, 5004)
    assert way.passes(port=5004, payload=b"media")
    run_nft("flush", "ruleset")
    lock.follow(replace(vpn, out=vpn.vpn, vpn={}))
    assert not way.passes(port=5004, payload=b"media")
    assert way.passes(port=5006, payload=b"media")
    lock.follow(replace(vpn, out=vpn.vpn, vpn={}, redirect=False))
    assert way.passes(port=5004, payload=b"media")


@pytest.fixture
def carried(way: Way) -> Iterator[str]:
    """An interface that lies on the way out, with the route to the server."""
    ip("link", "add", "mac0", "link", LINK, "type", "macvlan", "mode", "bridge")
    ip("link", "set", "mac0", "up")
    ip("route", "add", SERVER4, "dev", "mac0", "metric", "1", "src", ADDRESS4)
    ip("route", "delete", SERVER4, "dev", LINK)
    ip("neighbour", "add", SERVER4, "lladdr", "02:00:00:00:00:07", "dev", "mac0")
    yield "mac0"
    ip("link", "delete", "mac0")


@pytest.mark.parametrize("vpn", [True, False], ids=["the VPN", "inside"])
@pytest.mark.parametrize("redirect", [True, False], ids=["redirect", "block"])
def test_stun_leaves_by_an_interface_of_ours_that_a_way_out_carries(
    lock: SecondLock, way: Way, carried: str, vpn: bool, redirect: bool
) -> None:
    found = replace(wanted(), out={100: LINK, 101: carried}, redirect=redirect)
    lock.follow(found)
    assert not way.passes()
    own = {101: carried}
    lock.follow(replace(found, out={100: LINK}, carried=own, vpn=own if vpn else {}))
    assert way.passes()
    assert way.passes(payload=b"media")


def test_a_flow_that_is_redirected_into_a_vpn_that_a_way_out_carries_leaves_by_that_alone(
    lock: SecondLock, way: Way, carried: str
) -> None:
    own = {101: carried}
    lock.follow(replace(wanted(), carried=own, vpn=own, redirect=True))
    mark(Config().redirected_bit)
    for _ in range(2):
        assert way.passes(payload=b"media")
    run_nft("flush", "ruleset")
    ip("route", "add", SERVER4, "dev", LINK)  # a better one
    assert not way.passes(payload=b"media")
