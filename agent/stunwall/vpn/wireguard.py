"""Where the VPN's own packets go: the endpoints of WireGuard peers, from the kernel or from wireguard-go."""

import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from ipaddress import ip_address
from pathlib import Path

from stunwall.model import FAMILIES, Address
from stunwall.netlink import Message, attribute, attributes, values
from stunwall.vpn.interfaces import Link
from stunwall.vpn.requests import Requests, whole

Endpoint = tuple[Address, int]

# wireguard-go and amneziawg-go answer on a socket of the interface's name (wireguard.com/xplatform).
_FOLDERS = (Path("/run/wireguard"), Path("/run/amneziawg"))
# The kinds of links that the kernel answers for by generic netlink (linux/wireguard.h; amneziawg-linux-kernel-module,
# src/uapi/wireguard.h). The family has the kind's name, and AmneziaWG's messages those of WireGuard and more.
_KERNEL_KINDS = ("wireguard", "amneziawg")
_NETLINK_GENERIC = 16  # linux/netlink.h; not in Python's socket module
_GENERIC = struct.Struct("=BBH")  # linux/genetlink.h, struct genlmsghdr: command, version, reserved
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2  # GENL_ID_CTRL, CTRL_CMD_*, CTRL_ATTR_*
# linux/wireguard.h: WG_CMD_GET_DEVICE, WGDEVICE_A_IFINDEX, WGDEVICE_A_PEERS, WGPEER_A_ENDPOINT
_GET_DEVICE, _INDEX, _PEERS, _ENDPOINT = 0, 1, 8, 4
# Where the address is in struct sockaddr_in and sockaddr_in6, which begin with the family and the port.
_ADDRESSES = {int(FAMILIES[4]): slice(4, 8), int(FAMILIES[6]): slice(8, 24)}
_TIMEOUT = 0.2  # seconds for the whole answer of a program on this machine
_PEERS_MAX = 4096
_ANSWER_MAX = 1024 * _PEERS_MAX  # bytes; some ten lines a peer


def endpoints(links: Iterable[Link]) -> frozenset[Endpoint]:
    """Return (address, UDP port) of the peers of all WireGuard links; a link that cannot be asked adds none."""
    found: set[Endpoint] = set()
    for link in filter(may_answer, links):
        found |= _of_program(link.name) if link.kind == "tun" else _of_kernel(link)
    return limited(found)


def may_answer(link: Link) -> bool:
    """Whether a link may be one of WireGuard's."""
    return link.kind in _KERNEL_KINDS or (link.kind == "tun" and not link.tap)


def limited(found: set[Endpoint]) -> frozenset[Endpoint]:
    """Return as many endpoints as the wall takes, the same ones each time."""
    return frozenset(found if len(found) <= _PEERS_MAX else sorted(found, key=str)[:_PEERS_MAX])


def _of_kernel(link: Link) -> set[Endpoint]:
    found: set[Endpoint] = set()
    with suppress(OSError), closing(Requests(_NETLINK_GENERIC)) as kernel:
        request = _GENERIC.pack(_GET_DEVICE, 1, 0) + attribute(_INDEX, struct.pack("=I", link.index))
        for message in kernel.dump(_family(kernel, link.kind), request, whole):
            found.update(_of_peers(_attributes(message).get(_PEERS, b"")))
    return found


def _family(kernel: Requests, name: str) -> int:
    """Return the number of a family of generic netlink. Raises OSError, if the kernel has none of that name."""
    request = _GENERIC.pack(_GET_FAMILY, 1, 0) + attribute(_FAMILY_NAME, name.encode() + b"\0")
    (answer,) = kernel.ask(_CONTROL, request)
    return int.from_bytes(_attributes(answer)[_FAMILY_ID], sys.byteorder)


def _attributes(message: Message) -> dict[int, bytes]:
    return attributes(message.data, message.start + _GENERIC.size, message.end)


def _of_peers(peers: bytes) -> Iterator[Endpoint]:
    for peer in values(peers):
        endpoint = attributes(peer, 0, len(peer)).get(_ENDPOINT, b"")
        # A peer that has not connected yet has none.
        where = _ADDRESSES.get(int.from_bytes(endpoint[:2], sys.byteorder))
        if where is not None and len(endpoint) >= where.stop and (port := int.from_bytes(endpoint[2:4])):
            yield ip_address(endpoint[where]), port


def _endpoint(address: str, port: str) -> set[Endpoint]:
    """Return the endpoint, none if it is malformed; a zone, as in fe80::1%eth0, is left out."""
    try:
        endpoint = ip_address(address.partition("%")[0]), int(port)
    except ValueError:
        return set()
    return {endpoint} if 0 < endpoint[1] < 1 << 16 else set()


def _of_program(name: str) -> set[Endpoint]:
    found = set()
    for folder in _FOLDERS:
        for line in _answer(folder / f"{name}.sock").split("\n"):
            key, _, value = line.partition("=")
            if key == "endpoint":
                address, _, port = value.rpartition(":")
                found |= _endpoint(address.strip("[]"), port)
    return found


def _answer(file: Path) -> str:
    """Return what the program that listens on a socket answers in time; "" if there is none."""
    until = time.monotonic() + _TIMEOUT
    answer = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.settimeout(_TIMEOUT)
        asked.connect(str(file))
        asked.sendall(b"get=1\n\n")
        # An empty line ends the answer; the program keeps the connection open.
        while not answer.endswith(b"\n\n") and len(answer) < _ANSWER_MAX and time.monotonic() < until:
            asked.settimeout(max(until - time.monotonic(), 0.001))
            piece = asked.recv(65536)
            if not piece:
                break
            answer += piece
    return answer.decode(errors="replace")
