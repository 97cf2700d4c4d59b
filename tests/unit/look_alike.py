"""Whether a packet that begins like STUN is positively something else. Shares no code with the agent."""

import struct

COOKIE = bytes.fromhex("2112a442")
TEAMS = bytes.fromhex("ff10")
DISCORD, DISCORD_SIZE = bytes.fromhex("00010046"), 74
TELEGRAM_SIZES = {b"\xfe\xff\xff\xff": 40, b"\xff\xff\xff\xff": 32}
_SKIPPED = (0, 43, 60)
_FRAGMENT, _UDP, _UDP_LITE = 44, 17, 136


def is_look_alike(packet: bytes) -> bool:
    """Whether it is certain that no receiver takes a UDP packet for STUN, TURN, or Discord's or Telegram's question."""
    found = _udp(packet)
    if found is None:
        return False
    segment, by_ip, partial, lite = found
    payload = segment[8:]
    (by_udp,) = struct.unpack_from("!H", segment, 4)
    sizes = {by_ip - 8} if lite or not by_udp else {by_ip - 8, by_udp - 8}
    if (payload[0] < 0x40 and payload[4:8] == COOKIE) or (payload[:2] == TEAMS and payload[16:20] == COOKIE):
        return False
    if payload[20:22] == bytes(2) and payload[28:32] == COOKIE and payload[24] < 0x40:
        return False
    if payload[16:28] == b"\xff" * 12:
        size = TELEGRAM_SIZES.get(payload[28:32])
        if size and (size in sizes or (partial and len(payload) <= size)):
            return False
    if payload[0] >> 4 == 4:
        return not partial and 4 + int.from_bytes(payload[2:4], "big") > max(sizes)
    if payload[0] > 1:
        return payload[16:28] == b"\xff" * 12
    named = 20 + int.from_bytes(payload[2:4], "big")
    discord = payload.startswith(DISCORD)
    if discord and (DISCORD_SIZE in sizes or (partial and len(payload) <= DISCORD_SIZE)):
        return False
    fits = named in sizes or (partial and named >= len(payload))
    return not fits or named % 4 != 0 or named > 548 or _overrun(payload, named)


def _udp(packet: bytes) -> tuple[bytes, int, bool, bool] | None:
    """The UDP segment, its size by the IP header, whether it is a first fragment, and whether it is UDP-Lite."""
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        total, fields = struct.unpack_from("!H2xH", packet, 2)
        if packet[9] not in (_UDP, _UDP_LITE) or fields & 0x1FFF:
            return None
        return packet[header:], (total or len(packet)) - header, bool(fields & 0x2000), packet[9] == _UDP_LITE
    (length,) = struct.unpack_from("!H", packet, 4)
    end = 40 + length if length else len(packet)
    following, offset, partial = packet[6], 40, False
    while following in (*_SKIPPED, _FRAGMENT):
        size = 8
        if following == _FRAGMENT:
            (fields,) = struct.unpack_from("!H", packet, offset + 2)
            if fields >> 3 or packet[offset] not in (_UDP, _UDP_LITE):
                return None
            partial = bool(fields & 1)
        else:
            size = 8 + 8 * packet[offset + 1]
        following, offset = packet[offset], offset + size
    if following not in (_UDP, _UDP_LITE):
        return None
    return packet[offset:], end - offset, partial, following == _UDP_LITE


def _overrun(payload: bytes, end: int) -> bool:
    """Whether an attribute that can be seen ends behind the message, or has no room there."""
    at = 20
    while at < min(end, len(payload)):
        if at + 4 > end:
            return True
        if at + 4 > len(payload):
            return False
        size = int.from_bytes(payload[at + 2 : at + 4], "big")
        if at + 4 + size > end:
            return True
        at += 4 + size + -size % 4
    return False
