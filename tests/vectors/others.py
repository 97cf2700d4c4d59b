"""Traffic that is no STUN and has to pass, made from the RFCs named: name, transport, port, payload."""

from vectors.programs import COOKIE, ID, classic

# RFC 1035 §4.1: `example.org`, type A, class IN
_QUESTION = b"\x07example\x03org\x00" + bytes.fromhex("00010001")
_CLIENT_HELLO = bytes.fromhex("16030102000100 01fc0303") + bytes(range(64))
_DTLS_HELLO = bytes.fromhex("16fefd0000000000000000 007a 01") + bytes(range(64))

OTHERS = [
    ("DNS", "udp", 53, bytes.fromhex("b8a20100000100000000 0000") + _QUESTION),
    ("DNS with id 0x0001", "udp", 53, bytes.fromhex("00010100000100000000 0000") + _QUESTION),
    ("DNS with id 0x0101", "udp", 53, bytes.fromhex("01010120000100000000 0000") + _QUESTION),
    ("DNS over TCP", "tcp", 53, bytes.fromhex("001d00010100000100000000 0000") + _QUESTION),
    ("DHCP discover", "udp", 67, bytes.fromhex("01010600") + bytes(range(32)) + bytes(264)),  # RFC 2131 §2
    ("DHCP offer", "udp", 68, bytes.fromhex("02010600") + bytes(range(32)) + bytes(264)),
    ("TFTP read request", "udp", 69, b"\x00\x01pxelinux.0\x00octet\x00"),  # RFC 1350 §5
    ("TFTP data", "udp", 50000, b"\x00\x03\x00\x01" + bytes(512)),
    ("NTP", "udp", 123, b"\x23" + bytes(47)),  # RFC 5905 §7.3
    (
        "QUIC initial",
        "udp",
        443,
        bytes.fromhex("c300000001088394c8f03e515708") + bytes(1186),
    ),  # RFC 9000 §17.2
    ("QUIC short header", "udp", 443, bytes.fromhex("408394c8f03e515708") + bytes(40)),  # RFC 9000 §17.3
    ("QUIC short header, spin bit", "udp", 443, bytes.fromhex("618394c8f03e515708") + bytes(40)),
    ("WireGuard initiation", "udp", 51820, bytes.fromhex("01000000") + bytes(range(144))),  # 148 bytes
    ("WireGuard response", "udp", 51820, bytes.fromhex("02000000") + bytes(range(88))),  # 92 bytes
    ("WireGuard cookie", "udp", 51820, bytes.fromhex("03000000") + bytes(range(60))),  # 64 bytes
    ("WireGuard data", "udp", 51820, bytes.fromhex("04000000") + bytes(range(28))),
    ("RTP", "udp", 50000, bytes.fromhex("80600001000000a0deadbeef") + bytes(160)),  # RFC 3550 §5.1
    ("RTCP", "udp", 50001, bytes.fromhex("81c80006deadbeef") + bytes(20)),  # RFC 3550 §6.4.1
    ("DTLS to 443", "udp", 443, _DTLS_HELLO),  # OpenConnect, and WebRTC's media keys
    ("DTLS to a peer", "udp", 50002, _DTLS_HELLO),
    ("DTLS-like over TCP to a guarded port", "tcp", 3478, _DTLS_HELLO),
    ("TLS to 443", "tcp", 443, _CLIENT_HELLO),
    ("TLS-like over UDP to a guarded port", "udp", 3478, _CLIENT_HELLO),
    ("HTTP", "tcp", 80, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    ("SSH", "tcp", 22, b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("RTP over TCP, RFC 4571", "tcp", 50003, bytes.fromhex("000c80600001000000a0deadbeef")),
    ("nothing", "udp", 3478, b""),
    ("an empty segment to a guarded port", "tcp", 3478, b""),
    ("zeros", "udp", 3478, bytes(64)),
    ("the cookie one byte early", "udp", 3478, b"\x00\x01\x00" + COOKIE + ID),
    ("the cookie one byte late", "udp", 50004, b"\x00\x01\x00\x00\x00" + COOKIE + ID),
    ("the cookie behind other top bits", "udp", 443, b"\xc0\x01\x00\x00" + COOKIE + ID),
    ("the cookie, cut after 3 bytes", "udp", 3478, b"\x00\x01\x00\x00\x21\x12\xa4"),
    ("Teams' header before something else", "udp", 3479, b"\xff\x10\x00\x20SESSION!" + bytes(24)),
    ("classic STUN of unknown type", "udp", 3478, classic(0x0005)),
    ("classic STUN over TCP", "tcp", 50005, classic(0x0001)),
    ("classic STUN with a wrong length", "udp", 3478, classic(0x0001, length=4)),
    (
        "classic STUN with a broken attribute",
        "udp",
        3478,
        classic(0x0001, bytes.fromhex("00030008 00000000")),
    ),
    ("classic STUN, cut", "udp", 3478, classic(0x0001)[:19]),
    ("Discord's length in another message", "udp", 50000, b"\x00\x02\x00\x46" + bytes(70)),
    ("Discord's start in 73 bytes", "udp", 50000, b"\x00\x01\x00\x46" + bytes(69)),
]
