"""Sealed in every state: while the VPN comes and goes, while stunwalld starts, and when it is killed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM

import pytest

from lab.addresses import FAMILIES, PHYSICAL, REAL, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.agent import Agent, wall_stands
from lab.deadline import until
from lab.leaks import DEVICE
from lab.messages import binding_request, reflexive_address, transaction_of
from lab.probe import UNBOUND, Binding, ask
from lab.topology import Lab
from lab.wire import Wire

NOTICED = 5  # seconds for a change of links to arrive; it takes milliseconds


def address_seen(lab: Lab, binding: Binding = UNBOUND, kind: int = SOCK_DGRAM) -> str | None:
    """The address that the server sees, or None if it sees nothing."""
    reply = ask(lab.client, (STUN_SERVER[AF_INET], STUN_PORT), binding_request(), binding, kind, 0.5)
    return reflexive_address(reply)


def assert_sealed(lab: Lab) -> None:
    """Nothing gets out on the physical interface, by either family and transport."""
    with Wire(lab) as wire:
        for family in FAMILIES:
            for kind in (SOCK_DGRAM, SOCK_STREAM):
                reply = DEVICE.ask(lab, family, kind, binding_request(), seconds=0.3)
                assert reflexive_address(reply) is None
        assert not wire.stun()


def wait_passes(lab: Lab) -> None:
    until(lambda: address_seen(lab) == VPN_SERVER[AF_INET], NOTICED, "STUN through the VPN")


def test_vpn_that_appears_is_let_through_and_one_that_goes_is_sealed(lab: Lab) -> None:
    lab.vpn.down()
    assert address_seen(lab) == REAL[AF_INET]
    with Agent(lab):
        for _ in range(2):
            assert_sealed(lab)
            assert address_seen(lab) is None
            lab.vpn.up(ipv6=True)
            wait_passes(lab)
            assert_sealed(lab)
            lab.vpn.down()


def test_vpn_that_is_cut_off_is_sealed(lab: Lab) -> None:
    """As when the VPN's program crashes: its interface is gone, and the physical one is used."""
    lab.vpn.up()
    lab.vpn.cut()
    assert address_seen(lab) == REAL[AF_INET]
    lab.vpn.up()
    with Agent(lab):
        wait_passes(lab)
        with Wire(lab) as wire:
            with stunning(lab, UNBOUND) as sent:
                lab.vpn.cut()
                first = len(sent)
                until(lambda: len(sent) > first + 50, 5, "more STUN after the VPN is gone")
            assert not wire.stun()
        lab.vpn.up()
        wait_passes(lab)


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4_vpn", "both_families"])
def test_killed_daemon_leaves_the_wall_and_the_vpns_stun(lab: Lab, ipv6: bool) -> None:
    lab.vpn.up(ipv6=ipv6)
    assert address_seen(lab, Binding(device=PHYSICAL)) == REAL[AF_INET]
    with Agent(lab) as agent:
        agent.kill()
        assert wall_stands(lab)
        assert_sealed(lab)
        for kind in (SOCK_DGRAM, SOCK_STREAM):
            assert address_seen(lab, kind=kind) == VPN_SERVER[AF_INET]


def test_killed_daemon_can_start_again_without_a_gap(lab: Lab) -> None:
    lab.vpn.up()
    with Agent(lab) as agent:
        agent.kill()
        with Wire(lab) as wire:
            with stunning(lab, Binding(device=PHYSICAL)):
                agent.start()
            assert not wire.stun()


def test_stopped_daemon_removes_its_table_and_nothing_else(lab: Lab) -> None:
    lab.vpn.up()
    before = state_of_client(lab)
    with Agent(lab) as agent:
        assert wall_stands(lab)
        assert agent.stop() == 0
        assert not wall_stands(lab)
        assert state_of_client(lab) == before
    assert address_seen(lab, Binding(device=PHYSICAL)) == REAL[AF_INET]


def test_leave_wall_on_stop_keeps_the_wall(lab: Lab) -> None:
    lab.vpn.up()
    with Agent(lab, leave_wall_on_stop=True) as agent:
        assert agent.stop() == 0
        assert wall_stands(lab)
        assert_sealed(lab)
        assert address_seen(lab) == VPN_SERVER[AF_INET]


def test_when_vpn_down_allow_opens_only_without_a_vpn(lab: Lab) -> None:
    lab.vpn.down()
    with Agent(lab, when_vpn_down="allow"):
        assert address_seen(lab) == REAL[AF_INET]
        lab.vpn.up(ipv6=True)
        until(lambda: address_seen(lab, Binding(device=PHYSICAL)) is None, NOTICED, "the wall to close")
        assert_sealed(lab)
        lab.vpn.down()
        until(lambda: address_seen(lab) == REAL[AF_INET], NOTICED, "the wall to open")


def test_nothing_leaves_once_the_daemon_is_ready_while_stun_is_being_sent(lab: Lab) -> None:
    lab.vpn.up()
    with Wire(lab) as wire, stunning(lab, Binding(device=PHYSICAL)) as sent:
        until(wire.stun, 5, "STUN on the wire before stunwalld starts")
        with Agent(lab):
            first = len(sent)
            until(lambda: len(sent) > first + 50, 5, "more STUN after stunwalld is ready")
            after = sent[first:]
            wire.settle()
            leaked = [transaction for transaction in after if wire.leaks(transaction)]
            assert not leaked


@contextmanager
def stunning(lab: Lab, binding: Binding) -> Iterator[list[bytes]]:
    """Sends a Binding Request every few milliseconds; yields the growing list of transaction IDs."""
    sent: list[bytes] = []
    ended = threading.Event()

    sock = lab.client.socket(AF_INET, SOCK_DGRAM)
    binding.apply(sock)

    def run() -> None:
        while not ended.wait(0.003):
            request = binding_request()
            # Noted before it is sent, so that what is in the list later was sent later.
            sent.append(transaction_of(request))
            with suppress(OSError):  # the wall's EPERM, or no route at the moment
                sock.sendto(request, (STUN_SERVER[AF_INET], STUN_PORT))

    thread = threading.Thread(target=run, name="stunning", daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join()
        sock.close()


def state_of_client(lab: Lab) -> list[str]:
    """The client's rules, routes and nft tables, less what counts or ages."""
    commands = (
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "nft list ruleset",
    )
    return [lab.client.run(*command.split()).stdout for command in commands]
