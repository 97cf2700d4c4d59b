"""Traffic that is not STUN and has to pass: name, transport, port, payload.

Made by hand from the specification that the comment above each group names. "Invented" marks the rest.
"""

from vectors.programs import (
    COOKIE,
    ID,
    MS_COOKIE,
    PSEUDO_TLS,
    TELEGRAM_SELF,
    classic,
    message,
    ms_turn,
)

# RFC 1035 §4.1: `example.org`, type A, class IN.
_QUESTION = b"\x07example\x03org\x00" + bytes.fromhex("00010001")
_DNS = "0100000100000000 0000"

# RFC 2131 §2: operation, hardware type, its length, hops.
_DHCP_DISCOVER = bytes.fromhex("01010600") + bytes(range(32)) + bytes(264)
_DHCP_OFFER = bytes.fromhex("02010600") + bytes(range(32)) + bytes(264)

# RFC 9000 §17.2 and §17.3, with the connection ID of RFC 9001's appendix A.
_QUIC_INITIAL = bytes.fromhex("c300000001088394c8f03e515708") + bytes(1186)
_QUIC_SHORT = bytes.fromhex("408394c8f03e515708") + bytes(40)
_QUIC_SPIN = bytes.fromhex("618394c8f03e515708") + bytes(40)

# RFC 8446 §5.1 and RFC 6347 §4.1: the record header, and the first fields of a ClientHello.
_CLIENT_HELLO = bytes.fromhex("16030102000100 01fc0303") + bytes(range(64))
_DTLS_HELLO = bytes.fromhex("16fefd0000000000000000 007a 01") + bytes(range(64))

# RFC 3551 §4.5.14: 20 ms of µ-law silence.
_SILENCE = bytes.fromhex("8000000100000050deadbeef") + b"\xff" * 160
_RTP = bytes.fromhex("80600001000000a0deadbeef")
_BROKEN_ATTRIBUTE = bytes.fromhex("00030008 00000000")

OTHERS = [
    # RFC 1035 §4.1. Identifier and flags of some look like the type and length of STUN.
    ("DNS", "udp", 53, bytes.fromhex("b8a2" + _DNS) + _QUESTION),
    ("DNS with ID 0x0001", "udp", 53, bytes.fromhex("0001" + _DNS) + _QUESTION),
    ("DNS with ID 0x0101", "udp", 53, bytes.fromhex("0101 0120000100000000 0000") + _QUESTION),
    ("DNS over TCP", "tcp", 53, bytes.fromhex("001d 0001" + _DNS) + _QUESTION),
    # RFC 2131 §2
    ("DHCP discover", "udp", 67, _DHCP_DISCOVER),
    ("DHCP offer", "udp", 68, _DHCP_OFFER),
    # RFC 1350 §5
    ("TFTP read request", "udp", 69, b"\x00\x01pxelinux.0\x00octet\x00"),
    ("TFTP data", "udp", 50000, b"\x00\x03\x00\x01" + bytes(512)),
    # RFC 5905 §7.3
    ("NTP", "udp", 123, b"\x23" + bytes(47)),
    # RFC 9000 §17
    ("QUIC initial", "udp", 443, _QUIC_INITIAL),
    ("QUIC short header", "udp", 443, _QUIC_SHORT),
    ("QUIC short header, spin bit", "udp", 443, _QUIC_SPIN),
    # WireGuard's protocol, §5.4: messages of 148, 92, 64 and 32 bytes.
    ("WireGuard initiation", "udp", 51820, bytes.fromhex("01000000") + bytes(range(144))),
    ("WireGuard response", "udp", 51820, bytes.fromhex("02000000") + bytes(range(88))),
    ("WireGuard cookie", "udp", 51820, bytes.fromhex("03000000") + bytes(range(60))),
    ("WireGuard data", "udp", 51820, bytes.fromhex("04000000") + bytes(range(28))),
    # RFC 3550 §5.1 and §6.4.1, RFC 4571 §2
    ("RTP", "udp", 50000, _RTP + bytes(160)),
    ("RTP with silence", "udp", 50000, _SILENCE),
    ("RTCP", "udp", 50001, bytes.fromhex("81c80006deadbeef") + bytes(20)),
    ("RTP over TCP, RFC 4571", "tcp", 50003, b"\x00\x0c" + _RTP),
    # RFC 6347 §4.1, RFC 8446 §5.1. OpenConnect uses DTLS to 443, WebRTC for its media keys.
    ("DTLS to 443", "udp", 443, _DTLS_HELLO),
    ("DTLS to a peer", "udp", 50002, _DTLS_HELLO),
    ("DTLS-like over TCP to a guarded port", "tcp", 3478, _DTLS_HELLO),
    ("TLS to 443", "tcp", 443, _CLIENT_HELLO),
    ("TLS-like over UDP to a guarded port", "udp", 3478, _CLIENT_HELLO),
    # RFC 9112 §3, RFC 4253 §4.2
    ("HTTP", "tcp", 80, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    ("SSH", "tcp", 22, b"SSH-2.0-OpenSSH_9.2\r\n"),
    # Invented: too short, or with a cookie in the wrong place.
    ("an empty datagram", "udp", 3478, b""),
    ("an empty segment to a guarded port", "tcp", 3478, b""),
    ("zeros", "udp", 3478, bytes(64)),
    ("the cookie one byte early", "udp", 3478, b"\x00\x01\x00" + COOKIE + ID),
    ("the cookie one byte late", "udp", 50004, b"\x00\x01\x00\x00\x00" + COOKIE + ID),
    ("the cookie after two one bits", "udp", 443, b"\xc0\x01\x00\x00" + COOKIE + ID),
    ("the cookie, cut after 3 bytes", "udp", 3478, b"\x00\x01\x00\x00\x21\x12\xa4"),
    ("Teams' header before something else", "udp", 3479, b"\xff\x10\x00\x20SESSION!" + bytes(24)),
    # Invented: what RFC 3489 §11 does not allow.
    ("classic STUN of unknown type", "udp", 3478, classic(0x0005)),
    ("classic STUN over TCP", "tcp", 50005, classic(0x0001)),
    ("classic STUN with a wrong length", "udp", 3478, classic(0x0001, length=4)),
    ("classic STUN with a broken attribute", "udp", 3478, classic(0x0001, _BROKEN_ATTRIBUTE)),
    ("classic STUN, cut", "udp", 3478, classic(0x0001)[:19]),
    # RFC 5246 §7.4.1.2: ClientHellos that have nearly the bytes of pseudo-TLS.
    ("TLS with the cipher of pseudo-TLS among others", "tcp", 443, PSEUDO_TLS[:45] + b"\4\0\x18\0\x2f\1\0"),
    (
        "TLS with that cipher and an extension",
        "tcp",
        443,
        PSEUDO_TLS[:4] + b"\x31" + PSEUDO_TLS[5:] + bytes(4),
    ),
    # Invented: almost Microsoft's framing, and almost Telegram's header.
    ("Microsoft's framing of data without the cookie", "tcp", 443, ms_turn(classic(0x0003, MS_COOKIE), 3)),
    ("Microsoft's framing of something else", "tcp", 443, ms_turn(classic(0x0003, bytes(8)))),
    ("Microsoft's framing with a second byte", "tcp", 443, b"\x02\x01\x00\x14" + message(0x0001)),
    ("Microsoft's framing of type 4", "tcp", 443, ms_turn(message(0x0001), 4)),
    ("Telegram's header with a huge length", "udp", 596, b"T" * 20 + b"\1\0\0\x14" + message(0x0001)),
    (
        "Telegram's header before two one bits",
        "udp",
        596,
        b"T" * 20 + bytes(4) + b"\xc0" + message(0x0001)[1:],
    ),
    ("Telegram's self info, longer", "udp", 596, TELEGRAM_SELF + bytes(4)),
    ("Telegram's self info of another kind", "udp", 596, TELEGRAM_SELF[:28] + b"\xfd" + TELEGRAM_SELF[29:]),
    ("Telegram's media", "udp", 596, TELEGRAM_SELF[:16] + bytes(range(24))),
    # Invented: almost Discord's IP discovery.
    ("Discord's length in another message", "udp", 50000, b"\x00\x02\x00\x46" + bytes(70)),
    ("Discord's start in 73 bytes", "udp", 50000, b"\x00\x01\x00\x46" + bytes(69)),
]
