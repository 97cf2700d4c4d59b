"""What the tests of the second lock share: a machine without it, and frames that pass no rules of the first."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOBUFS
from socket import AF_INET, AF_PACKET, IPPROTO_UDP, SOCK_DGRAM, SOCK_RAW, inet_pton

from lab.addresses import CLIENT, PHYSICAL, STUN_PORT, STUN_SERVER
from lab.agent import Agent
from lab.capture import Capture
from lab.deadline import until
from lab.leaks import DEVICE
from lab.messages import binding_request, new_transaction
from lab.namespace import Namespace
from lab.observe import status
from lab.topology import Lab
from lab.wire import Wire

# Linux's numbers, which the socket module doesn't have.
ETHERNET: dict[int, int] = {AF_INET: 0x0800, socket.AF_INET6: 0x86DD}
VLAN, SERVICE_VLAN = 0x8100, 0x88A8
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
TABLE = "netdev stunwall"
SENDER_PORT = 40000


def up(agent: Agent) -> bool:
    """Whether the second lock is there, as `status` says."""
    daemon = status(agent)["daemon"]
    return daemon is not None and daemon["second_lock"]["state"] == "up"


def locked(agent: Agent) -> set[str]:
    """The interfaces that the second lock is on."""
    return set(status(agent)["daemon"]["second_lock"]["interfaces"])


@contextmanager
def owned_by_another(lab: Lab) -> Iterator[None]:
    """Another program owns a table with the second lock's name, so stunwalld can't make its own."""
    command = lab.client.command("nft", "--interactive")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as owner:
        assert owner.stdin is not None
        owner.stdin.write(f"table {TABLE} {{ flags owner; }}\n")
        owner.stdin.flush()
        until(lambda: lab.client.run("nft", "list", "table", *TABLE.split()).returncode == 0, 5, "the table")
        yield
        owner.stdin.close()


@contextmanager
def without_rules(lab: Lab, agent: Agent) -> Iterator[None]:
    """Every rule and every connection entry is gone, and stunwalld has not noticed yet."""
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        lab.client.nft("flush ruleset")
        lab.client.delete_connections()
        yield
    finally:
        os.kill(agent.pid, signal.SIGCONT)


def passes_first_lock(lab: Lab) -> bool:
    """Whether STUN by the physical interface passes the first lock: it is outside, or the second lock drops it.

    An answer does not tell: the tripwire may drop it.
    """
    before = dropped(lab.client)
    with Wire(lab) as wire:
        DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request(), 0.5)
        return bool(wire.stun()) or dropped(lab.client) > before


def dropped(client: Namespace) -> int:
    """How many packets the second lock has dropped so far as STUN that the first has not passed."""
    printed = client.run("nft", "list", "counter", *TABLE.split(), "dropped").stdout
    counted = re.search(r"packets (\d+)", printed)
    return int(counted[1]) if counted else 0


@dataclass(frozen=True)
class Frame:
    """How a program writes a frame.

    `tags`: of VLANs. `protocol`: what it tells the kernel, 0 for what stands in the frame. `bypass`: of the qdisc.
    `kind`: the transport. `port`: the server's. `sender`: the IP address, the client's if "".
    `receiver`: the hardware address.
    """

    tags: tuple[int, ...] = ()
    protocol: int = 0
    bypass: bool = False
    kind: int = IPPROTO_UDP
    port: int = STUN_PORT
    sender: str = ""
    receiver: str = "ff:ff:ff:ff:ff:ff"


def frame(family: int, payload: bytes, how: Frame, hardware: bytes) -> bytes:
    """A whole Ethernet frame to the STUN server."""
    if how.kind == IPPROTO_UDP:
        head = struct.pack("!HHHH", SENDER_PORT, how.port, 8 + len(payload), 0)
    else:
        # RFC 9293 §3.1: 5 words of header, PSH and ACK.
        head = struct.pack("!HHIIBBHHH", SENDER_PORT, how.port, 1, 1, 5 << 4, 0x18, 65535, 0, 0)
    data = head + payload
    addresses = inet_pton(family, how.sender or CLIENT[family]) + inet_pton(family, STUN_SERVER[family])
    if family == AF_INET:
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 7, 0, 64, how.kind, 0) + addresses
        # RFC 1071: a router drops what has none.
        checksum = -sum(struct.unpack("!10H", packet)) % 0xFFFF
        packet = packet[:10] + struct.pack("!H", checksum) + packet[12:]
    else:
        packet = struct.pack("!IHBB", 6 << 28, len(data), how.kind, 64) + addresses
    tags = b"".join(struct.pack("!HH", tag, 7) for tag in how.tags)
    ethernet = bytes.fromhex(how.receiver.replace(":", "")) + hardware + tags
    return ethernet + struct.pack("!H", ETHERNET[family]) + packet + data


class Frames(Capture):
    """Keeps every frame that comes in by an interface."""

    def __init__(self, namespace: Namespace, interface: str) -> None:
        super().__init__(namespace, interface)
        self.frames: list[bytes] = []

    def take(self, frame: bytes, outgoing: bool) -> None:
        if not outgoing:
            self.frames.append(frame)

    def has(self, needle: bytes) -> bool:
        return any(needle in frame for frame in list(self.frames))


def hardware_address(namespace: Namespace, device: str) -> str:
    """The hardware address of an interface."""
    (link,) = json.loads(namespace.run("ip", "-j", "link", "show", device).stdout)
    return str(link["address"])


def comes_out(source: Namespace, device: str, family: int, how: Frame, end: tuple[Namespace, str]) -> bool:
    """Whether STUN that a packet socket of `source` writes to `device` comes out at `end`, as for arrives()."""
    with packet_socket(source, device, family, how) as write:

        def send(payloads: list[bytes]) -> None:
            for payload in payloads:
                write(payload)

        return arrives(send, end)


def arrives(
    send: Callable[[list[bytes]], object],
    end: tuple[Namespace, str],
    message: Callable[[bytes], bytes] = binding_request,
) -> bool:
    """Whether STUN comes out at `end`, an interface of a namespace.

    Something that is no STUN is sent after it in the same way, and has to come out.

    Args:
        send: sends these payloads, in order.
        message: makes the STUN message for a transaction ID.
    """
    stun, other = new_transaction(), b"no STUN " + os.urandom(16)
    with Frames(*end) as frames:
        send([message(stun), other])
        until(lambda: frames.has(other), 5, "what is no STUN")
        return frames.has(stun)


@contextmanager
def packet_socket(
    source: Namespace, device: str, family: int, how: Frame
) -> Iterator[Callable[[bytes], None]]:
    """Yields a function that sends a payload in a frame."""
    with source.socket(AF_PACKET, SOCK_RAW) as sock:
        sock.bind((device, how.protocol or (how.tags or (ETHERNET[family],))[0]))
        if how.bypass:
            sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        hardware = sock.getsockname()[4]

        def write(payload: bytes) -> None:
            try:
                sock.send(frame(family, payload, how, hardware))
            except OSError as error:
                if error.errno != ENOBUFS:  # how the sender is told that it was dropped
                    raise

        yield write


@contextmanager
def cables(lab: Lab) -> Iterator[None]:
    """The container has a macvlan on the physical interface, and one end on a bridge with a second cable out."""
    # With br_netfilter, the rules of the first lock would see what is bridged.
    for version in ("ip", "ip6"):
        lab.client.sysctl(f"bridge/bridge-nf-call-{version}tables", 0)
    lab.client.ip(f"""
        link add macvlan0 link {PHYSICAL} netns box type macvlan mode bridge
        link add cable0 type veth peer name bridged netns isp
        link add port0 type veth peer name guest0 netns box
        link add bridge0 type bridge
        link set cable0 master bridge0
        link set port0 master bridge0
        link set cable0 up
        link set port0 up
        link set bridge0 up
        addr add 10.77.0.1/24 dev bridge0
        route add 10.78.0.0/24 via 10.77.0.2 dev bridge0
    """)
    lab.box.ip("link set macvlan0 up\nlink set guest0 up")
    lab.isp.ip("link set bridged up")
    try:
        yield
    finally:
        lab.client.ip("link del bridge0\nlink del cable0\nlink del port0")
        lab.box.ip("link del macvlan0")
