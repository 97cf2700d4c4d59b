"""Fills a namespace's connection tracking table."""

import struct
from pathlib import Path
from socket import AF_INET, AF_NETLINK, IPPROTO_TCP, SOCK_RAW, inet_aton

from lab.namespace import NETLINK_NETFILTER, NLM_F_REQUEST, Namespace

# linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h, nf_conntrack_common.h
CT_NEW, NLM_F_CREATE, NESTED = 1 << 8 | 0, 0x400, 0x8000
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_TIMEOUT = 1, 2, 3, 7
CONFIRMED, SEEN_REPLY, ASSURED = 8, 2, 4  # what is assured is not dropped early to make room
AT_ONCE = 500  # messages of one sendmsg(): some 60 KB


def limit() -> int:
    """How many connections a namespace may have; the kernel has one limit for all."""
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())


def fill(namespace: Namespace) -> None:
    """Adds connections that are never seen until there is no room for more."""
    count, batch = limit(), bytearray()
    with namespace.socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) as netlink:
        for number in range(count + AT_ONCE):
            batch += _connection(number)
            if number % AT_ONCE == AT_ONCE - 1:
                netlink.send(batch)
                batch.clear()


def _connection(number: int) -> bytes:
    one, other = inet_aton(f"100.64.{number >> 8 & 255}.{number & 255}"), inet_aton("100.65.0.1")
    port = 1024 + (number >> 16)
    orig = _tuple(CTA_TUPLE_ORIG, one, other, port, 443)
    reply = _tuple(CTA_TUPLE_REPLY, other, one, 443, port)
    status = _attribute(CTA_STATUS, struct.pack("!I", CONFIRMED | SEEN_REPLY | ASSURED))
    body = struct.pack("!BBH", AF_INET, 0, 0) + orig + reply + status
    body += _attribute(CTA_TIMEOUT, struct.pack("!I", 600)) + _attribute(4 | NESTED, _TCP_ESTABLISHED)
    return struct.pack("=IHHII", 16 + len(body), CT_NEW, NLM_F_REQUEST | NLM_F_CREATE, 0, 0) + body


def _tuple(kind: int, source: bytes, destination: bytes, source_port: int, port: int) -> bytes:
    addresses = _attribute(1, source) + _attribute(2, destination)
    ports = _attribute(2, struct.pack("!H", source_port)) + _attribute(3, struct.pack("!H", port))
    protocol = _attribute(1, bytes([IPPROTO_TCP])) + ports
    return _attribute(kind | NESTED, _attribute(1 | NESTED, addresses) + _attribute(2 | NESTED, protocol))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


# CTA_PROTOINFO (4), CTA_PROTOINFO_TCP (1), CTA_PROTOINFO_TCP_STATE (1): established (3)
_TCP_ESTABLISHED = _attribute(1 | NESTED, _attribute(1, b"\3"))
