"""Sealed in every state: while the VPN goes up and down, while stunwalld starts, and when it is killed."""

from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM

import pytest

from lab.addresses import REAL, VPN_SERVER
from lab.agent import Agent, wall_is_up
from lab.deadline import until
from lab.observe import NOTICED, address_seen, assert_sealed, network_state, wait_passes
from lab.probe import DEVICE_BOUND, UNBOUND
from lab.senders import Senders
from lab.topology import Lab
from lab.wire import Wire


def test_stun_passes_through_a_vpn_while_it_is_up_and_is_blocked_while_it_is_down(lab: Lab) -> None:
    lab.vpn.down()
    assert address_seen(lab) == REAL[AF_INET]
    with Agent(lab):
        for _ in range(2):
            assert_sealed(lab)
            assert address_seen(lab, seconds=0.5) is None
            lab.vpn.up(ipv6=True)
            wait_passes(lab)
            assert_sealed(lab)
            lab.vpn.down()


def test_nothing_leaves_when_the_vpns_program_crashes(lab: Lab) -> None:
    """Its interface is gone then, so that the physical one is used."""
    lab.vpn.up()
    lab.vpn.cut()
    assert address_seen(lab) == REAL[AF_INET]
    lab.vpn.up()
    with Agent(lab):
        wait_passes(lab)
        with Wire(lab) as wire:
            with Senders(lab, UNBOUND) as senders:
                lab.vpn.cut()
                senders.wait(50)
            assert not wire.stun()
        lab.vpn.up()
        wait_passes(lab)


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4_vpn", "both_families"])
def test_wall_stays_when_the_daemon_is_killed_and_the_vpns_stun_passes(lab: Lab, ipv6: bool) -> None:
    lab.vpn.up(ipv6=ipv6)
    assert address_seen(lab, binding=DEVICE_BOUND) == REAL[AF_INET]
    with Agent(lab) as agent:
        agent.kill()
        assert wall_is_up(lab)
        assert_sealed(lab)
        for kind in (SOCK_DGRAM, SOCK_STREAM):
            assert address_seen(lab, kind=kind) == VPN_SERVER[AF_INET]


def test_nothing_leaves_when_a_killed_daemon_starts_again(lab: Lab) -> None:
    lab.vpn.up()
    with Agent(lab) as agent:
        agent.kill()
        with Wire(lab) as wire:
            with Senders(lab, DEVICE_BOUND) as senders:
                agent.start()
                senders.wait()
            assert not wire.stun()


def test_stopped_daemon_removes_its_table_and_nothing_else(lab: Lab) -> None:
    lab.vpn.up()
    before = network_state(lab)
    with Agent(lab) as agent:
        assert wall_is_up(lab)
        assert agent.stop() == 0
        assert not wall_is_up(lab)
        assert network_state(lab) == before
    assert address_seen(lab, binding=DEVICE_BOUND) == REAL[AF_INET]


def test_leave_wall_on_stop_keeps_the_wall(lab: Lab) -> None:
    lab.vpn.up()
    with Agent(lab, leave_wall_on_stop=True) as agent:
        assert agent.stop() == 0
        assert wall_is_up(lab)
        assert_sealed(lab)
        assert address_seen(lab) == VPN_SERVER[AF_INET]


def test_when_vpn_down_allow_lets_stun_out_only_while_no_vpn_is_up(lab: Lab) -> None:
    lab.vpn.down()
    with Agent(lab, when_vpn_down="allow"):
        assert address_seen(lab) == REAL[AF_INET]
        lab.vpn.up(ipv6=True)
        until(
            lambda: address_seen(lab, binding=DEVICE_BOUND, seconds=0.5) is None,
            NOTICED,
            "STUN to be blocked",
        )
        assert_sealed(lab)
        lab.vpn.down()
        until(lambda: address_seen(lab, seconds=0.5) == REAL[AF_INET], NOTICED, "STUN to pass")


def test_no_request_leaves_that_is_sent_after_the_daemon_is_ready(lab: Lab) -> None:
    lab.vpn.up()
    with Wire(lab) as wire, Senders(lab, DEVICE_BOUND) as senders:
        until(wire.stun, 5, "STUN on the wire before stunwalld starts")
        with Agent(lab):
            first = len(senders.transactions)
            senders.wait(50)
            after = senders.transactions[first:]
            wire.settle()
            assert not [transaction for transaction in after if wire.seen(transaction)]
