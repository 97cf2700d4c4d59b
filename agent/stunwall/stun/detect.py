"""From the bytes of an IP packet to 'this is STUN': the one entry, and the same answer as the wall's."""

from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from stunwall.model import GUARD_PORTS, Datagram, Framing, Protocol, Transport
from stunwall.stun import message as stun
from stunwall.stun import packet as ip

_TEAMS = bytes.fromhex("ff10")
_TEAMS_HEADER = 12  # bytes: ff 10, u16 length, 8 bytes of session
# [MS-TURN] §2.1.4: control messages, or data between the peers; a zero; u16 length.
_MS_TURN_CONTROL = bytes.fromhex("0200")
_MS_TURN_DATA = bytes.fromhex("0300")
_MS_TURN_HEADER = 4  # bytes
_MS_COOKIE_AT = _MS_TURN_HEADER + stun.HEADER  # the first attribute
# [MS-TURN] §2.1.1: a ClientHello of 50 bytes without extensions, which offers one cipher, 0x0018. Time and random are
# between these.
_PSEUDO_TLS = bytes.fromhex("160301002d010000290301")
_PSEUDO_TLS_END = bytes.fromhex("00000200180100")
_PSEUDO_TLS_END_AT = 43

_TELEGRAM_TAG = 16  # bytes: the tag of the call, 12 bytes, and of the receiver, 4 bytes
_TELEGRAM_HEADER = 24  # bytes: tag, 4 bytes of the sender, u32 length
_TELEGRAM_RELAY = b"\xff" * 12  # behind the tag: it is for the relay itself, or from it

_DISCORD_LENGTH = 74  # bytes: type, length, 70 bytes
_DISCORD_RESPONSE = bytes.fromhex("00020046")
# Telegram's responses, by the 4 bytes that follow: the method, where the client's address begins and ends.
_TELEGRAM_RESPONSES = {
    bytes.fromhex("c77215c0"): ("SelfInfo", 44, 60),
    bytes.fromhex("1c37d927"): ("PeerInfo", 32, 36),
    bytes.fromhex("b173fc83"): ("PeerInfo", 32, 48),
}

# RFC 6335 §6: the ports below are servers'. What comes from there answers a client whose port happens to be guarded.
_FIRST_CLIENT_PORT = 1024
# ChannelData's length field is below this, 0x09 being a tab: text has a character in the field's first byte.
_TEXT = 0x0900
# The first byte of a type that is in use (WhatsApp's are 0x0800 to 0x0805) is below this.
_FIRST_BYTES_OF_STUN = 9


class _Question(NamedTuple):
    """What a program sends to a server of its own to learn its address: not STUN.

    It is known by the bytes `mark` at `offset`, and by its `size` in bytes.
    """

    protocol: Protocol
    method: str
    offset: int
    mark: bytes
    size: int


_QUESTIONS = (
    _Question(Protocol.DISCORD, "IPDiscovery", 0, bytes.fromhex("00010046"), _DISCORD_LENGTH),
    # Telegram's Desktop and its libraries tgcalls and libtgvoip: of the own address, of both peers'.
    _Question(Protocol.TELEGRAM, "SelfInfo", _TELEGRAM_TAG, _TELEGRAM_RELAY + b"\xfe\xff\xff\xff", 40),
    _Question(Protocol.TELEGRAM, "PeerInfo", _TELEGRAM_TAG, _TELEGRAM_RELAY + b"\xff\xff\xff\xff", 32),
)


class Detection(NamedTuple):
    """What was found: `message` is None where there is none to read (TLS, ChannelData, Discord, Telegram).

    `found` says what it is then. `stun`: the payload from the message on, what follows it included.
    """

    datagram: Datagram
    found: tuple[Protocol, str] | None
    framing: Framing = Framing.PLAIN
    message: stun.Message | None = None
    stun: bytes = b""

    @property
    def protocol(self) -> Protocol:
        """What the packet is."""
        return self._named[0]

    @property
    def method(self) -> str:
        """The STUN method's name, else what the packet is."""
        return self._named[1]

    @property
    def _named(self) -> tuple[Protocol, str]:
        # No verdict depends on it, so none waits for it.
        if self.message is None:
            assert self.found is not None  # noqa: S101 - one of the two is there
            return self.found
        return _protocol(self.message), self.message.name


def detect(packet: bytes, guard_ports: Collection[int] = GUARD_PORTS) -> Detection | None:
    """Return what STUN is in a whole IPv4 or IPv6 packet (no link layer), or None. Never raises.

    UDP, UDP-Lite and TCP, any port: STUN by its cookie; classic STUN (RFC 3489) by type, exact length and attributes;
    STUN behind RFC 4571 framing, Microsoft's, Teams' or Telegram's; what Discord and Telegram ask instead. To
    `guard_ports` also TLS, DTLS and TURN ChannelData. Where the IP and the UDP header differ about the length, it is
    STUN if it is by either. Bytes that are no such packet give None.
    """
    try:
        datagram = ip.parse(packet)
    except ip.PacketError:
        return None
    return classify(datagram, guard_ports)


def classify(datagram: Datagram, guard_ports: Collection[int] = GUARD_PORTS) -> Detection | None:
    """As `detect`, for a datagram that is parsed already.

    None means that it is positively something else: if bytes are missing, as in a first fragment, they count as STUN's.
    """
    payload = datagram.payload
    if stun.has_cookie(payload):
        return _message(datagram, 0, Framing.PLAIN)
    if payload[:2] == _TEAMS and payload[16:20] == stun.MAGIC_COOKIE:
        return _message(datagram, _TEAMS_HEADER, Framing.TEAMS)
    if detection := _tcp(datagram) if datagram.transport is Transport.TCP else _udp(datagram):
        return detection
    if datagram.destination_port in guard_ports and datagram.source_port >= _FIRST_CLIENT_PORT:
        return _guarded_tcp(datagram) if datagram.transport is Transport.TCP else _guarded_udp(datagram)
    return None


def classify_response(datagram: Datagram) -> Detection | None:
    """Return what success response is in a datagram that came in, or None if it is positively something else."""
    detection = classify(datagram, ())
    if detection is None:
        return _answer(datagram)
    message = detection.message
    return None if message and message.message_class is not stun.MessageClass.SUCCESS else detection


def mapped_address(packet: bytes) -> str:
    """Return the client's address in the response that a packet carries, "" if there is none. Never raises."""
    try:
        detection = classify_response(ip.parse(packet))
    except ip.PacketError:
        return ""
    if detection is None:
        return ""
    if detection.message is not None:
        return str(stun.mapped_address(detection.message) or "")
    with suppress(ValueError):
        payload = detection.datagram.payload
        if detection.protocol is Protocol.DISCORD:
            # 64 bytes of text that ends in zeros, behind the type, the length and the SSRC.
            return str(ip_address(payload[8:72].rstrip(b"\0").decode("ascii")))
        telegram = _telegram_response(payload)
        if telegram and len(payload) >= telegram[2]:
            _, start, end = telegram
            address = ip_address(payload[start:end])
            return str((isinstance(address, IPv6Address) and address.ipv4_mapped) or address)
    return ""


def _answer(datagram: Datagram) -> Detection | None:
    """Return what Discord's or Telegram's server answered, if it is that."""
    if datagram.transport is Transport.TCP:
        return None
    if telegram := _telegram_response(datagram.payload):
        return Detection(datagram, (Protocol.TELEGRAM, telegram[0]))
    if datagram.payload.startswith(_DISCORD_RESPONSE) and _DISCORD_LENGTH in datagram.lengths:
        return Detection(datagram, (Protocol.DISCORD, "IPDiscovery"))
    return None


def _telegram_response(payload: bytes) -> tuple[str, int, int] | None:
    """Return the method of a relay's response, and where the client's address begins and ends."""
    if not payload.startswith(_TELEGRAM_RELAY, _TELEGRAM_TAG):
        return None
    return _TELEGRAM_RESPONSES.get(payload[28:32])


def _message(datagram: Datagram, offset: int, framing: Framing) -> Detection:
    payload = datagram.payload[offset:]
    return Detection(datagram, None, framing, stun.parse(payload), payload)


def _protocol(message: stun.Message) -> Protocol:
    if not message.cookie:
        return Protocol.CLASSIC_STUN
    if message.is_turn:
        return Protocol.TURN
    return Protocol.ICE if message.is_ice else Protocol.STUN


def _tcp(datagram: Datagram) -> Detection | None:
    """Return what is found in TCP only."""
    payload = datagram.payload
    if stun.has_cookie(payload[2:]):  # RFC 4571 §2
        return _message(datagram, 2, Framing.RFC4571)
    if payload[:2] in (_MS_TURN_CONTROL, _MS_TURN_DATA) and stun.has_cookie(payload[_MS_TURN_HEADER:]):
        return _message(datagram, _MS_TURN_HEADER, Framing.MS_TURN)
    if payload[:2] == _MS_TURN_CONTROL and payload.startswith(stun.MS_MAGIC_COOKIE, _MS_COOKIE_AT):
        return _message(datagram, _MS_TURN_HEADER, Framing.MS_TURN)
    if payload.startswith(_PSEUDO_TLS) and payload.startswith(_PSEUDO_TLS_END, _PSEUDO_TLS_END_AT):
        return Detection(datagram, (Protocol.TURN_TLS, "pseudo-TLS"))
    return None


def _udp(datagram: Datagram) -> Detection | None:
    """Return what is found in UDP only."""
    payload = datagram.payload
    if any(stun.is_classic(payload, size) for size in _sizes(datagram, payload)):
        if len(payload) < stun.HEADER:  # the rest is in another fragment
            return Detection(datagram, (Protocol.CLASSIC_STUN, "fragment"))
        return _message(datagram, 0, Framing.PLAIN)
    if payload[20:22] == bytes(2) and stun.has_cookie(payload[_TELEGRAM_HEADER:]):
        return _message(datagram, _TELEGRAM_HEADER, Framing.TELEGRAM)
    for asked in _QUESTIONS:
        if payload.startswith(asked.mark, asked.offset) and asked.size in _sizes(datagram, payload):
            return Detection(datagram, (asked.protocol, asked.method))
    return None


def _sizes(datagram: Datagram, payload: bytes) -> set[int]:
    """Return how many bytes the payload may have for a receiver, as far as that can be a message without cookie."""
    sizes = set(datagram.lengths)
    if datagram.partial:
        # Fragments hide the whole length: the message's own may be right, if there is not already more.
        named = stun.HEADER + int.from_bytes(payload[2:4], "big")
        sizes |= {size for size in (named, *(asked.size for asked in _QUESTIONS)) if size >= len(payload)}
    return sizes


def _guarded_udp(datagram: Datagram) -> Detection | None:
    payload = datagram.payload
    # RFC 9147 §4, with RFC 9146's content type 25: content type, then the version.
    if payload[1:2] == b"\xfe" and 20 <= payload[0] <= 25:
        return Detection(datagram, (Protocol.TURN_TLS, "DTLS"))
    if _is_channel_data(payload):
        # RFC 8656 §12.6: a datagram too short for the length that it names is discarded.
        end = 4 + int.from_bytes(payload[2:4], "big")
        if datagram.partial or end <= max(datagram.lengths, default=len(payload)):
            return Detection(datagram, (Protocol.TURN, "ChannelData"))
    return None


def _guarded_tcp(datagram: Datagram) -> Detection | None:
    payload = datagram.payload
    # RFC 8446 §5.1: content type, then the version.
    if payload[1:2] in (b"", b"\x03") and 20 <= int.from_bytes(payload[:1], "big") <= 25:
        return Detection(datagram, (Protocol.TURN_TLS, "TLS"))
    if _is_channel_data(payload):
        return Detection(datagram, (Protocol.TURN, "ChannelData"))
    # Cut before the cookie, by the sender or by a server whose window is that small.
    if 1 <= len(payload) < 8 and payload[0] < _FIRST_BYTES_OF_STUN:
        return Detection(datagram, (Protocol.STUN, "segment"))
    return None


def _is_channel_data(payload: bytes) -> bool:
    # RFC 8656 §12: channel numbers 0x4000 to 0x4fff, then the length.
    channel, length = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
    return len(payload) >= 4 and 0x4000 <= channel <= 0x4FFF and length < _TEXT
