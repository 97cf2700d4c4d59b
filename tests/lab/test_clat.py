"""CLAT in user space (464XLAT): IPv4's default route leads into a tun, and its program sends what it reads as IPv6."""

import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import IPv6Address
from socket import AF_INET, AF_INET6, AF_PACKET, IPPROTO_RAW, SOCK_DGRAM, SOCK_RAW, inet_pton

import pytest

from lab.addresses import COTURN, PHYSICAL, ROUTER
from lab.agent import Agent
from lab.deadline import until
from lab.messages import binding_request, new_transaction
from lab.observe import NO_LEAK, json_of, status
from lab.probe import connect, send
from lab.second_lock import ETHERNET, Frame, frame, owned_by_another
from lab.topology import Lab
from lab.tunnel import open_tun
from lab.wire import Wire

CLAT, ADDRESS = "clat", "192.0.0.1"
SOURCE = "2001:db8:1::c1a7"
"""The CLAT's own IPv6 address, from the network of the physical interface."""
NAT64 = IPv6Address("64:ff9b::")
"""RFC 6052 §2.1. Nobody translates back here: the wire shows what leaves."""
HOWS = ("forwarded", "raw socket", "packet socket")
"""How the program sends: by its tun, so that the kernel forwards it, or past the routes."""


def translated(packet: bytes) -> bytes:
    """An IPv4 packet without options as IPv6 (RFC 7915 §4.1). The checksum in UDP is left as it is."""
    data, target = packet[20:], IPv6Address(int(NAT64) + int.from_bytes(packet[16:20]))
    head = struct.pack("!IHBB", 6 << 28, len(data), packet[9], 64)
    return head + inet_pton(AF_INET6, SOURCE) + target.packed + data


class Clat:
    """The program, which sends in one way until it is closed, and its tun."""

    def __init__(self, lab: Lab, how: str) -> None:
        self.taken: list[bytes] = []
        """Every IPv4 packet that the tun gave."""
        self._how = how
        self._device = open_tun(lab.client, CLAT)
        self._raw = lab.client.socket(AF_INET6, SOCK_RAW, IPPROTO_RAW)
        self._packet = lab.client.socket(AF_PACKET, SOCK_DGRAM)
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=CLAT, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._waker.close()
        self._thread.join()
        for sock in (self._wake, self._raw, self._packet):
            sock.close()
        os.close(self._device)

    def has(self, needle: bytes) -> bool:
        return any(needle in packet for packet in list(self.taken))

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(self._device, selectors.EVENT_READ)
            while all(key.fileobj is not self._wake for key, _ in selector.select()):
                with suppress(OSError):  # nothing to read, or a firewall dropped it
                    self._carry(os.read(self._device, 65535))

    def _carry(self, packet: bytes) -> None:
        if packet[0] >> 4 != 4:
            return
        self.taken.append(packet)
        out = translated(packet)
        if self._how == "forwarded":
            os.write(self._device, out)
        elif self._how == "raw socket":
            self._raw.sendto(out, (str(IPv6Address(out[24:40])), 0))
        else:
            self._packet.sendto(out, (PHYSICAL, ETHERNET[AF_INET6], 0, 0, b"\xff" * 6))


@contextmanager
def running(lab: Lab, how: str) -> Iterator[Clat]:
    """A CLAT inside the `with`, and no VPN. IPv4's other default route is for the wire's markers alone."""
    lab.vpn.down()
    other = f"default via {ROUTER[AF_INET]} dev {PHYSICAL}"
    with closing(Clat(lab, how)) as clat:
        lab.client.ip(f"""
            addr add {ADDRESS}/32 dev {CLAT}
            link set {CLAT} up
            route add {SOURCE} dev {CLAT}
            route add default dev {CLAT} metric 2048
            route add {other} metric 4096
            route del {other} metric 0
        """)
        try:
            yield clat
        finally:
            lab.client.ip(f"route add {other}\nroute del {other} metric 4096")


def by_socket(lab: Lab, payloads: list[bytes]) -> None:
    with connect(lab.client, COTURN[AF_INET]) as sock:
        for payload in payloads:
            send(sock, payload)


def past_the_first_lock(lab: Lab, payloads: list[bytes]) -> None:
    """By a packet socket on the tun."""
    with lab.client.socket(AF_PACKET, SOCK_DGRAM) as sock:
        for payload in payloads:
            with suppress(OSError):  # how the sender is told that it was dropped
                sock.sendto(frame(AF_INET, payload, Frame(), bytes(6))[14:], (CLAT, ETHERNET[AF_INET]))


def gets(lab: Lab, clat: Clat, sends: Callable[[Lab, list[bytes]], None]) -> tuple[bool, bool]:
    """Whether STUN comes to the program, and out of the machine; what is no STUN has to do both."""
    transaction, other = new_transaction(), b"no STUN " + os.urandom(16)
    with Wire(lab) as wire:
        sends(lab, [binding_request(transaction), other])
        until(lambda: wire.seen(other), 5, "what is no STUN, as IPv6")
        leaves = bool(wire.leaks(transaction))
        return clat.has(transaction), leaves


@pytest.mark.parametrize("how", HOWS)
def test_a_clat_is_no_vpn_and_gets_no_stun(lab: Lab, how: str) -> None:
    with running(lab, how) as clat:
        for sends in (by_socket, past_the_first_lock):
            assert gets(lab, clat, sends) == (True, True), NO_LEAK
        with Agent(lab) as agent:
            assert gets(lab, clat, by_socket) == (False, False)
            assert gets(lab, clat, past_the_first_lock) == (False, False)
            assert status(agent)["state"] == "sealed"
            assert "CLAT" in agent.cli("status").stdout
            (entry,) = (each for each in json_of(agent, "vpn") if each["interface"] == CLAT)
            assert (entry["counts"], entry["inside"]) == (False, False)
        with owned_by_another(lab), Agent(lab):
            assert gets(lab, clat, by_socket) == (False, False)


def test_a_clat_that_the_user_names_gets_stun_which_does_not_leave_as_ipv6(lab: Lab) -> None:
    with running(lab, "packet socket") as clat, Agent(lab, interfaces=[CLAT]) as agent:
        assert gets(lab, clat, by_socket) == (True, False)
        assert status(agent)["state"] == "protected"
