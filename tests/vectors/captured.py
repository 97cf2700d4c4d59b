"""Whole packets from public captures and from other programs' tests. Addresses and transaction IDs are made up."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Captured:
    """An IP packet, and whether stunwall takes it for STUN.

    `look_alike`: the rules take it, and the daemon then lets it go.
    """

    name: str
    origin: str
    stun: bool
    packet: bytes
    look_alike: bool = False


CAPTURED = [
    Captured(
        "ms-turn-tcp allocate request",
        "Baboushka/LINFO1341-P1, K3AG-60sec.pcapng, frame 588",
        True,
        bytes.fromhex(
            "450000700001400040064e51c0000201c63364019c4001bb00000001000000015018ffff000000000200004400030030"
            "2112a4420102030405060708090a0b0c000f000472c64bc6803700040000000480080004000000048006000400000001"
            "0010000400002ee08055000400020002"
        ),
    ),
    Captured(
        "ms-turn-tcp allocate request, IPv6",
        "the same, over IPv6",
        True,
        bytes.fromhex(
            "60000000005c064020010db800000000000000000000000120010db80000000000000000000000029c4001bb00000001"
            "000000015018ffff0000000002000044000300302112a4420102030405060708090a0b0c000f000472c64bc680370004"
            "00000004800800040000000480060004000000010010000400002ee08055000400020002"
        ),
    ),
    Captured(
        "ms-turn-tcp allocate success",
        "made after frame 36 of the same capture",
        True,
        bytes.fromhex(
            "450000700001400040064e51c0000201c63364019c40c35f00000001000000015018ffff000000000200004401030030"
            "2112a4420102030405060708090a0b0c000f000472c64bc6000d000400000258000100080001c000c633640780080004"
            "00000004802000080001e112e112a643"
        ),
    ),
    Captured(
        "ms-turn-tcp without the cookie",
        'a test of the library "turner"; framing added',
        True,
        bytes.fromhex(
            "450000680001400040064e59c0000201c63364019c4001bb00000001000000015018ffff000000000200003c00030028"
            "59cd65237c05eafa94de757fc70a37cb000f000472c64bc6000d00040000025800080014aabe880e8d71977a563a2770"
            "c3da3acfb81ebe14"
        ),
    ),
    Captured(
        "ms-turn-udp without the cookie",
        'a test of the library "turner"',
        True,
        bytes.fromhex(
            "450000580001400040114e5ec0000201c63364019c400d96004400000003002859cd65237c05eafa94de757fc70a37cb"
            "000f000472c64bc6000d00040000025800080014aabe880e8d71977a563a2770c3da3acfb81ebe14"
        ),
    ),
    Captured(
        "pseudo-TLS ClientHello before ms-turn-tcp",
        "made after frame 561 of the same capture",
        True,
        bytes.fromhex(
            "4500005a0001400040064e67c0000201c63364019c4001bb00000001000000015018ffff00000000160301002d010000"
            "2903016434238e0000000000000000000000000000000000000000000000000000000000000200180100"
        ),
    ),
    Captured(
        "telegram reflector: ICE check",
        "NotYuSheng/TracePcap, telegram_voice.pcapng, frame 21",
        True,
        bytes.fromhex(
            "450000940001400040114e22c0000201c63364019c400254008000005cf39375beee0adbedeb3c099b9285eef7a32bd1"
            "000000600001004c2112a442343065567a7031746c636e64000600094f677a563a4b4c7433000000c05700040003000a"
            "802a00080000000000000000002400046e7f010000080014146593875476a69b3f5b9baae5b1b89932ea859f80280004"
            "2db7f6da"
        ),
    ),
    Captured(
        "telegram reflector: ICE answer",
        "NotYuSheng/TracePcap, telegram_voice.pcapng, frame 18",
        True,
        bytes.fromhex(
            "450000740001400040114e42c0000201c63364019c400254006000005cf39375beee0adbedeb3c099b9285eef7a32bd1"
            "000000400101002c2112a44268686b57706356557a72495200200008000123467a7ead06000800146ddb5351eb3e22fc"
            "d73f771bd2a2b6687ebf80da80280004049b1b77"
        ),
    ),
    Captured(
        "telegram reflector: hello",
        "NotYuSheng/TracePcap, telegram_voice.pcapng, frame 10",
        True,
        bytes.fromhex(
            "450000440001400040114e72c0000201c63364019c400254003000005cf39375beee0adbedeb3c09f7a32bd1ffffffff"
            "fffffffffffffffffeffffff000000000000007b"
        ),
    ),
    Captured(
        "telegram reflector: peer info",
        "ntop/nDPI, telegram.pcap, frame 213",
        True,
        bytes.fromhex(
            "4500003c0001400040114e7ac0000201c63364019c40020900280000dc4c00291565b7acbc236da9eda0d597ffffffff"
            "ffffffffffffffffffffffff"
        ),
    ),
    Captured(
        "psn: classic binding request",
        "NagatoDEV/PlayStation-Vita-Packet-Captures, Call of Duty Black Ops Declassified (Drop Zone)",
        True,
        bytes.fromhex(
            "450000540001400040114e62c0000201c63364019c400d960040000000010024b47a1411542a9d89efac201993b851f5"
            "00210000000600040000000100080014808b03875c3f4d4b8d2a2e8dcaabee5b9b8a8d97"
        ),
    ),
    Captured(
        "zoom: classic binding request",
        "ntop/nDPI, zoom.pcap, frame 34",
        True,
        bytes.fromhex(
            "450000480001400040114e6ec0000201c63364019c400d960034000000010018c15dae63585d14392e582c260403bf30"
            "010100143132333435363738393031323334353637383900"
        ),
    ),
    Captured(
        "classic binding request, CHANGE-REQUEST",
        "cisco/mercury, unit_tests/pcaps/stun_classic.pcap, frame 1",
        True,
        bytes.fromhex(
            "450000380001400040114e7ec0000201c63364019c400d9600240000000100089429ef88294dd52632c72931cb8dbb4c"
            "0003000400000000"
        ),
    ),
    Captured(
        "pjnath: classic, attribute longer than the message",
        "pjsip/pjproject pjnath/src/pjnath-test/stun.c",
        # pjnath refuses it too.
        False,
        bytes.fromhex(
            "450000380001400040114e7ec0000201c63364019c400d9600240000000100080012a442000000000000000000000000"
            "000600ff00000000"
        ),
        look_alike=True,
    ),
    Captured(
        "webrtc fuzz corpus 9.stun",
        "versatica/mediasoup, worker/deps/webrtc-fuzzer-corpora/corpora/stun-corpus/9.stun",
        True,
        bytes.fromhex(
            "4500003c0001400040114e7ac0000201c63364019c409c41002800000101000c41424344291fcd7cba58abd7f2410100"
            "0001000800019dfcac1744e6"
        ),
    ),
    Captured(
        "scapy: classic binding response",
        "secdev/scapy, test/contrib/stun.uts",
        True,
        bytes.fromhex(
            "4500003c0001400040114e7ac0000201c63364019c409c41002800000101000c3706d14d383ad6c8405e179a9392eaa8"
            "0001000800010d14c0a80005"
        ),
    ),
    Captured(
        "channeldata with STUN to a port that is not guarded",
        "pion/turn, internal/proto/testdata/02_chandata.hex (rest zeroed)",
        # No flow begins so: it takes an Allocate, which is stopped.
        False,
        bytes.fromhex(
            "450000880001400040114e2ec0000201c63364019c409c430074000040000064000100502112a442453731722f2b322b"
            "6e4e7a580000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
            "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
        ),
    ),
    Captured(
        "webrtc: ChannelData header with the cookie after it",
        "JumpingYang001/webrtc, p2p/base/async_stun_tcp_socket_unittest.cc",
        False,
        bytes.fromhex(
            "4500003c0001400040064e85c0000201c63364019c409c4100000001000000015018ffff00000000400000102112a442"
            "303132333435363738396162"
        ),
    ),
    Captured(
        "stern: top bits 10",
        "jeffreyhi1/stern trunk/tests/check-libstern-parser.c",
        False,
        bytes.fromhex(
            "450000300001400040114e86c0000201c63364019c409c41001c0000800100002112a442000000000000000000000000"
        ),
    ),
    Captured(
        "pion: cookie at 5",
        "pion/stun, message_test.go",
        False,
        bytes.fromhex(
            "450000320001400040114e84c0000201c63364019c409c41001e000005000000002112a4420000000000000000000000"
            "0000"
        ),
    ),
    Captured(
        "modbus umas on tcp: RFC 3489 shape",
        "ntop/nDPI, umas.pcap, frame 54",
        False,
        bytes.fromhex(
            "4500003c0001400040064e85c0000201c63364019c401e2600000001000000015018ffff0000000000180000000e005a"
            "01fe0b000000100100140000"
        ),
    ),
    Captured(
        "openflow on tcp: RFC 3489 shape",
        "the-tcpdump-group/tcpdump, tests/of10_7050sx_bsn.pcap, frame 24",
        False,
        bytes.fromhex(
            "450000440001400040064e7dc0000201c63364019c40129400000001000000015018ffff00000000010500080000000b"
            "0110000c0000000c00030000011200080000000d"
        ),
    ),
    Captured(
        "teams: ff10 media",
        "made after Baboushka/LINFO1341-P1 CallAudio/Ethernet K3AE-MissedCall, frame 410, payload zeroed",
        False,
        bytes.fromhex(
            "4500008d0001400040114e29c0000201c63364019c400d9700790000ff10006d3950b2284154047d9068458b08d2a748"
            "00000076bede000100000000000000000000000000000000000000000000000000000000000000000000000000000000"
            "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        ),
    ),
    Captured(
        "http answer to a client's port 5349",
        "OISF/suricata-verify, tests/http-evader/http-evader-026/input.pcap, frame 5",
        False,
        bytes.fromhex(
            "450000610001400040064e60c0000201c63364019c4014e500000001000000015018ffff00000000485454502f312e31"
            "20323030206f6b0d0a436f6e74656e742d747970653a206170706c69636174696f6e2f6f637465742d73747265616d0d"
            "0a"
        ),
    ),
]
