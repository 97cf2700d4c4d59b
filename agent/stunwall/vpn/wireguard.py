"""Where the VPN's own packets go: the endpoints of WireGuard peers, from the kernel or from wireguard-go."""

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from stunwall.model import Address
from stunwall.vpn.interfaces import Link

Endpoint = tuple[Address, int]

# wireguard-go and amneziawg-go answer on a socket of the interface's name (wireguard.com/xplatform).
_FOLDERS = (Path("/run/wireguard"), Path("/run/amneziawg"))
# The kinds of links that the kernel answers for by generic netlink (linux/wireguard.h; amneziawg-linux-kernel-module,
# src/uapi/wireguard.h). The family has the kind's name, and AmneziaWG's messages those of WireGuard and more.
_KERNEL_KINDS = ("wireguard", "amneziawg")
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
    from pyroute2 import GenericNetlinkSocket  # only where there is such a link
    from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
    from pyroute2.netlink.exceptions import NetlinkDecodeError, NetlinkError
    from pyroute2.netlink.generic.wireguard import WG_CMD_GET_DEVICE, wgmsg

    found = set()
    request = wgmsg()
    request["cmd"] = WG_CMD_GET_DEVICE
    request["attrs"].append(["WGDEVICE_A_IFINDEX", link.index])
    with suppress(NetlinkError, NetlinkDecodeError, OSError), GenericNetlinkSocket() as netlink:
        netlink.bind(link.kind, wgmsg)
        for message in netlink.nlm_request(request, netlink.prid, NLM_F_REQUEST | NLM_F_DUMP):
            for peer in message.get("WGDEVICE_A_PEERS") or ():
                found |= _of_peer(peer.get("WGPEER_A_ENDPOINT"))
    return found


def _of_peer(value: Any) -> set[Endpoint]:  # noqa: ANN401 - pyroute2 is not typed
    try:
        return _endpoint(value["addr"], str(value["port"]))
    except (TypeError, KeyError):  # a peer that has not connected yet has no endpoint
        return set()


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
