"""No published attack makes STUN leave outside the VPN; `./tests/run.sh attacks` prints the scoreboard."""

import os
from contextlib import ExitStack, suppress
from socket import AF_INET, AF_INET6

import pytest

from lab.addresses import CLIENT, ECHO_SERVER, PHYSICAL, ROUTER, VPN
from lab.agent import Agent
from lab.attacks import ATTACKS, LOCAL_NETWORK, POISON_TAP, Attack, with_vpn
from lab.deadline import until
from lab.frame import Packet
from lab.hostile import OTHER_POOL, POOL, lease, routes
from lab.messages import COOKIE, new_transaction
from lab.observe import NOTICED
from lab.probe import DEVICE_BOUND, UNBOUND, Binding, connect, exchange, send
from lab.redirected import redirected_flow, rtp
from lab.samples import STUN
from lab.scoreboard import BEGIN, END, MODES, README, faults, play, sources
from lab.senders import Senders
from lab.topology import Lab
from lab.wire import Wire
from lab.wireguard import TABLE

CASES = [
    pytest.param(attack, mode, id=f"{attack.name.replace(' ', '_')}-{mode}")
    for attack in ATTACKS
    if not attack.tested
    for mode in MODES
]


def assert_comes_out(lab: Lab, wire: Wire, binding: Binding) -> None:
    """What is no STUN leaves outside the VPN, and so everything that was sent before it would have."""
    control = b"no STUN " + os.urandom(16)
    with connect(lab.client, (ECHO_SERVER[AF_INET], 50001), binding) as sock:
        send(sock, control)
    until(lambda: wire.seen(control), NOTICED, "what is no STUN")


@pytest.mark.parametrize(("attack", "mode"), CASES)
def test_attack_leaks_without_stunwall_and_not_with_it(lab: Lab, attack: Attack, mode: str) -> None:
    assert list(faults(attack, mode, play(lab, attack, mode))) == []


@pytest.mark.parametrize("attack", [LOCAL_NETWORK, POISON_TAP], ids=lambda each: each.name)
def test_allow_lan_lets_nothing_out_to_a_public_ipv4_address_that_the_network_calls_local(
    lab: Lab, attack: Attack
) -> None:
    assert list(faults(attack, "block", play(lab, attack, "block", allow_lan=True))) == []


def test_another_address_by_dhcp_lets_no_redirected_flow_out(lab: Lab) -> None:
    """The flow's socket is bound to an address that is gone."""
    media = [rtp() for _ in range(3)]
    outside = routes(f"{ECHO_SERVER[AF_INET]}/32")
    with (
        with_vpn(lab, unconfigured=AF_INET),
        Agent(lab, mode="redirect"),
        Wire(lab) as wire,
        ExitStack() as flow,
    ):
        with lease(lab, POOL, outside):
            sock = flow.enter_context(redirected_flow(lab))
            assert exchange(sock, media[0]) == media[0]
        with lease(lab, OTHER_POOL, outside):
            for payload in media[1:]:
                with suppress(OSError):  # the kernel has no such source address
                    exchange(sock, payload, 0.2)
            assert_comes_out(lab, wire, UNBOUND)
    assert not any(wire.seen(payload) for payload in media)


@pytest.mark.usefixtures("vpn")
def test_no_kind_of_message_leaves_by_a_card_with_the_smallest_mtu(lab: Lab) -> None:
    """As DHCP's option 26 can ask for: 68 bytes (RFC 791), which also take IPv6 from the card."""

    def send_all() -> list[Packet]:
        with Wire(lab) as wire:
            for sample in STUN:
                server = ECHO_SERVER[AF_INET], sample.port
                with suppress(OSError), connect(lab.client, server, DEVICE_BOUND, sample.kind) as sock:
                    send(sock, sample.make(new_transaction()))
            until(lab.queues_empty, NOTICED, "a verdict for every packet")
            assert_comes_out(lab, wire, DEVICE_BOUND)
        return wire.seen(COOKIE)

    lab.client.ip(f"link set {PHYSICAL} mtu 68")
    try:
        assert len(send_all()) > len(STUN) / 2
        with Agent(lab):
            assert not send_all()
    finally:
        lab.client.ip(f"""
            link set {PHYSICAL} mtu 1500
            addr add {CLIENT[AF_INET6]}/64 dev {PHYSICAL} nodad
            route add ::/0 via {ROUTER[AF_INET6]}
        """)


def test_a_card_with_the_name_of_a_killed_vpn_is_no_vpn(lab: Lab) -> None:
    lab.vpn.up()
    with Agent(lab), Wire(lab) as wire:
        with Senders(lab, UNBOUND) as senders:
            lab.vpn.cut()
            lab.client.ip(f"""
                link add {VPN} link {PHYSICAL} type macvlan mode bridge
                addr add 192.168.1.3/24 dev {VPN}
                link set {VPN} up
                route add default via {ROUTER[AF_INET]} dev {VPN} table {TABLE}
            """)
            senders.wait(20)
            assert_comes_out(lab, wire, UNBOUND)
            senders.wait(20)
        lab.client.ip(f"link del {VPN}")
    assert not wire.seen(COOKIE)


def test_the_printed_scoreboard_is_of_these_attacks_and_modes() -> None:
    printed, published = README.read_text().split(BEGIN)[1].split(END)[0].strip().split("\n\n")
    assert published == sources()
    header, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()
    ]
    assert header[2:] == list(MODES)
    assert [line[:2] for line in lines] == [[attack.name, attack.attacker] for attack in ATTACKS]
    for _, _, without, *others in lines:
        assert int(without.strip("*")) > 0
        assert all(cell.startswith("0, ") for cell in others)
