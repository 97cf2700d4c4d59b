"""From the bytes of an IP packet to 'this is STUN': the one entry, and the same answer as the wall's."""

from collections.abc import Collection
from dataclasses import dataclass

from stunwall.model import GUARD_PORTS, Datagram, Framing, Protocol, Transport
from stunwall.stun import message as stun
from stunwall.stun import packet as ip

_TEAMS = bytes.fromhex("ff10")
_TEAMS_HEADER = 12  # bytes: ff 10, u16 length, 8 bytes of session
_DISCORD = bytes.fromhex("00010046")
_DISCORD_LENGTH = 74  # bytes: type, length, 70 bytes


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found: `message` is None where there is none to read (TLS, ChannelData, Discord).

    `method`: the STUN method's name, else what the packet is. `stun`: the payload from the message on,
    what follows it included.
    """

    datagram: Datagram
    protocol: Protocol
    method: str
    framing: Framing = Framing.PLAIN
    message: stun.Message | None = None
    stun: bytes = b""


def detect(packet: bytes, guard_ports: Collection[int] = GUARD_PORTS) -> Detection | None:
    """Return what STUN is in a whole IPv4 or IPv6 packet (no link layer), or None. Never raises.

    UDP and TCP, any port: STUN by its cookie; classic STUN (RFC 3489) by type, exact length and attributes;
    STUN behind RFC 4571 framing or Teams' header; Discord's IP discovery. To `guard_ports` also TLS, DTLS and
    TURN ChannelData. Bytes that are no such packet give None.
    """
    try:
        datagram = ip.parse(packet)
    except ip.PacketError:
        return None
    return classify(datagram, guard_ports)


def classify(datagram: Datagram, guard_ports: Collection[int] = GUARD_PORTS) -> Detection | None:
    """As `detect`, for a datagram that is parsed already."""
    payload = datagram.payload
    if stun.has_cookie(payload):
        return _message(datagram, 0, Framing.PLAIN)
    if payload[:2] == _TEAMS and payload[16:20] == stun.MAGIC_COOKIE:
        return _message(datagram, _TEAMS_HEADER, Framing.TEAMS)
    if datagram.transport is Transport.TCP:
        if stun.has_cookie(payload[2:]):  # RFC 4571 §2
            return _message(datagram, 2, Framing.RFC4571)
    else:
        if stun.is_classic(payload):
            return _message(datagram, 0, Framing.PLAIN)
        if len(payload) == _DISCORD_LENGTH and payload.startswith(_DISCORD):
            return Detection(datagram, Protocol.DISCORD, "IPDiscovery")
    if datagram.destination_port in guard_ports:
        return _guarded(datagram)
    return None


def _message(datagram: Datagram, offset: int, framing: Framing) -> Detection:
    payload = datagram.payload[offset:]
    message = stun.parse(payload)
    if not message.cookie:
        protocol = Protocol.CLASSIC_STUN
    elif message.is_turn:
        protocol = Protocol.TURN
    elif message.is_ice:
        protocol = Protocol.ICE
    else:
        protocol = Protocol.STUN
    return Detection(datagram, protocol, message.name, framing, message, payload)


def _guarded(datagram: Datagram) -> Detection | None:
    head = datagram.payload[:4]
    if len(head) < 4:
        return None
    # RFC 8446 §5.1, RFC 9147 §4 (with RFC 9146's content type 25): content type, then the version.
    version = 0x03 if datagram.transport is Transport.TCP else 0xFE
    if 20 <= head[0] <= 25 and head[1] == version:
        method = "TLS" if datagram.transport is Transport.TCP else "DTLS"
        return Detection(datagram, Protocol.TURN_TLS, method)
    if 0x40 <= head[0] <= 0x4F:  # RFC 8656 §12
        return Detection(datagram, Protocol.TURN, "ChannelData")
    return None
