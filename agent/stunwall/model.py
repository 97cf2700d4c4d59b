"""The vocabulary that all other modules share: values only, no I/O."""

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, AddressFamily
from typing import NamedTuple

Address = IPv4Address | IPv6Address


# The address family of each IP version.
FAMILIES: dict[int, AddressFamily] = {4: AF_INET, 6: AF_INET6}

# Kinds of interfaces (IFLA_INFO_KIND) whose traffic leaves encrypted. Not here, so only counted when named: tap, bridge
# and veth (VMs, containers), ppp (may be the DSL line), sit, ip6tnl and gre (not encrypted).
VPN_KINDS = frozenset({"wireguard", "amneziawg", "tun", "ovpn", "ovpn-dco", "xfrm", "vti", "vti6"})
# A routing domain (Documentation/networking/vrf.rst).
VRF = "vrf"

# The routing table of redirected packets. Its routes are ours, so they do not show what the VPN carries.
REDIRECT_TABLE = 4780


# RFC 8489 §18.6: the ports of STUN and TURN, and of both over TLS.
GUARD_PORTS = (3478, 5349)

GROUP = "stunwall"  # whose members may read the record, ask and change

# The verdict of an event about a time in which the wall was not intact.
GAP = "gap"
# The verdict of an event about a response to a request that got out unseen: the server knows the real address.
EXPOSED = "exposed"
# The verdict of an event about a check that has seen STUN leave outside the VPN.
LEAK = "leak"


class StunwallError(Exception):
    """Base of every error that a user may see: what was expected, what was seen, what to do.

    `exit_code` is what the commands exit with (documented in `stunwall --help`).
    """

    exit_code = 1


class Transport(StrEnum):
    """The transport protocol below STUN."""

    UDP = "udp"
    TCP = "tcp"

    @property
    def number(self) -> int:
        """The protocol number (IANA's Assigned Internet Protocol Numbers)."""
        return _PROTOCOL_NUMBERS[self]


_PROTOCOL_NUMBERS = {Transport.UDP: 17, Transport.TCP: 6}


class Protocol(StrEnum):
    """What a packet was recognised as; the value is the JSON field `protocol`."""

    STUN = "stun"  # RFC 8489: cookie, and neither ICE nor TURN
    CLASSIC_STUN = "classic-stun"  # RFC 3489 and relatives: no cookie
    ICE = "ice"  # RFC 8445 connectivity check
    TURN = "turn"  # RFC 8656: a TURN method, or ChannelData to a guarded port
    TURN_TLS = "turn-tls"  # TLS or DTLS to a guarded port, or the pseudo-TLS of MS-TURN
    DISCORD = "discord"  # Discord's IP discovery: not STUN, the same purpose
    TELEGRAM = "telegram"  # what Telegram asks its relays: not STUN, the same purpose
    HANDSHAKE = "tcp-handshake"  # the first segment of a TCP connection, perhaps to a TURN server
    UNKNOWN = "unknown"  # could not be parsed


class Framing(StrEnum):
    """What stands before the STUN message in the payload."""

    PLAIN = "plain"
    RFC4571 = "rfc4571"  # u16 length: ICE-TCP
    TEAMS = "teams"  # ff 10, u16 length, 8 bytes of session
    MS_TURN = "ms-turn"  # TCP: type, a zero, u16 length ([MS-TURN] §2.1.4)
    TELEGRAM = "telegram"  # UDP: peer tag of 16 bytes, sender of 4, u32 length


class Verdict(StrEnum):
    """What becomes of a packet; the value is the JSON field `verdict`."""

    BLOCK = "blocked"
    ACCEPT = "accepted"
    REDIRECT = "redirected"


class Reason(StrEnum):
    """Why; the value is the JSON field `reason`, `Reason.sentence` is what people read."""

    NOT_STUN = "not-stun"
    THROUGH_VPN = "through-vpn"
    INSIDE = "inside"
    VPN_DOWN_ALLOWED = "vpn-down-allowed"
    REDIRECTED = "redirected"
    WALL_DECIDES = "wall-decides"
    OUTSIDE_VPN = "outside-vpn"
    NO_VPN = "no-vpn"
    DEVICE_BOUND = "device-bound"
    NO_FAMILY = "no-family"
    TCP = "tcp"
    KNOWN_FLOW = "known-flow"
    FORWARDED = "forwarded"
    EXPOSED = "exposed"
    UNASKED = "unasked"
    BOUND = "bound"
    ROUTED_OUTSIDE = "routed-outside"
    NO_WEBRTC = "no-webrtc"
    EXCEPTION = "exception"
    UNREADABLE = "unreadable"

    @property
    def sentence(self) -> str:
        """The reason in a sentence."""
        return _SENTENCES[self]


_SENTENCES = {
    Reason.NOT_STUN: "it looks like STUN, but is not",
    Reason.THROUGH_VPN: "it leaves through the VPN",
    Reason.INSIDE: "it goes to a machine behind this one",
    Reason.VPN_DOWN_ALLOWED: 'no VPN is up, and when_vpn_down = "allow"',
    Reason.REDIRECTED: "it would have bypassed the VPN, so it was redirected into the VPN",
    Reason.WALL_DECIDES: "it is judged again once its outgoing interface is final",
    Reason.OUTSIDE_VPN: "it would have bypassed the VPN",
    Reason.NO_VPN: "no VPN is up",
    Reason.DEVICE_BOUND: "its socket is bound to an interface, so it cannot be redirected",
    Reason.NO_FAMILY: "the VPN does not carry its IP version",
    Reason.TCP: "its TCP connection was already established outside the VPN",
    Reason.KNOWN_FLOW: "it could not be redirected: its flow already existed, or its route changed",
    Reason.FORWARDED: "it was forwarded for a container, VM or LAN client, so it cannot be redirected",
    Reason.EXPOSED: "a request got out unseen and a server outside the VPN answered; the answer was dropped",
    Reason.UNASKED: "it is a response from outside the VPN that no program waits for, so it proves nothing",
    Reason.BOUND: "only its socket's binding led it outside the VPN, where connecting shows the real address",
    Reason.ROUTED_OUTSIDE: "routing leads it outside the VPN, whatever its socket is bound to",
    Reason.NO_WEBRTC: "its program does no WebRTC",
    Reason.EXCEPTION: "an exception, allow_lan or a pause lets it out",
    Reason.UNREADABLE: "it looks like STUN, but could not be parsed",
}


class Hook(IntEnum):
    """Where a packet was queued (linux/netfilter.h, enum nf_inet_hooks)."""

    PREROUTING = 0
    OUTPUT = 3
    POSTROUTING = 4


class Program(Enum):
    """What kind of program has opened a socket."""

    WEBRTC = "does WebRTC, or may be one of several of which one does"
    OTHER = "does none"
    UNKNOWN = "not known: its socket is gone, or its processes cannot be read"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection comes from, and where it would go if nothing bound its socket.

    `route`: the interface that routing leads to without the socket's address and device, "" if nowhere.
    `bound_to_device`: the socket is bound to an interface, so the kernel cannot route it again.
    """

    route: str
    bound_to_device: bool
    program: Program


class Sender(NamedTuple):
    """Whose packet it is, as the kernel says at once: the user, and the inodes of the cgroup's folder and the socket.

    `cgroup` is 0 where the kernel does not say, `inode` for the kernel's own sockets. `device` is the index of the
    interface that the socket is bound to, 0 for none.
    """

    uid: int
    cgroup: int
    inode: int
    device: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of a browser wants of a request to one of its made-up servers.

    `label`: the made-up address that says by which interface the request would have left; None for a request that is
    not of the user who checks: it gets no answer. `as_usual`: a request that is blocked is refused, as any other.
    """

    label: Address | None
    as_usual: bool


class Arrival(NamedTuple):
    """A packet as the queue hands it over: its IP bytes, hook, and its mark of 32 bits.

    `incoming` and `outgoing` are interfaces; `incoming` is "" where the packet is of this machine, `outgoing` in
    prerouting. `time` is when it was taken from the queue, in Unix seconds. `awaited`: in prerouting, whether a program
    waits for the packet. `origin`: at the output hook, where the first segment of a TCP connection comes from, None for
    any other packet. `checked`: None for a packet that is not for a check.
    """

    packet: bytes
    incoming: str
    outgoing: str
    hook: Hook
    mark: int
    time: float
    awaited: bool = True
    origin: Origin | None = None
    checked: Checked | None = None


class TcpNumbers(NamedTuple):
    """Sequence and acknowledgment number of a TCP segment, and whether it opens a connection (RFC 9293 §3.1)."""

    sequence: int
    acknowledgment: int
    opens: bool = False


class Datagram(NamedTuple):
    """A UDP or UDP-Lite datagram or TCP segment with its IP addresses; `payload` may be cut by the capture.

    `lengths`: how many bytes the payload has, by the IP header and, if that says something else, by the UDP header: a
    receiver may go by either. `partial`: this is the first fragment, and more payload follows than `lengths` says.
    `lite`: it is UDP-Lite (RFC 3828), which is judged as UDP.
    """

    transport: Transport
    source: Address
    destination: Address
    source_port: int
    destination_port: int
    payload: bytes
    tcp: TcpNumbers | None = None
    lengths: tuple[int, ...] = ()
    partial: bool = False
    lite: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.source.version


class Plain(NamedTuple):
    """A Binding Request that is nothing but a header, in a whole UDP datagram behind an IP header without options.

    Addresses (4 or 16 bytes), ports (2 bytes) and transaction ID (12 bytes) are as they came.
    """

    source: bytes
    destination: bytes
    source_port: bytes
    destination_port: bytes
    transaction_id: bytes

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if len(self.source) == 4 else 6


class Answered(NamedTuple):
    """What has been done for a packet besides its verdict.

    `refused`: its sender was told. `question`: the number of the look-up of its socket, 0 if there was none.
    """

    refused: bool = False
    question: int = 0


class Decision(NamedTuple):
    """A verdict and its reason; `refusal` is the response of a Refusal, None where the sender is not told."""

    verdict: Verdict
    reason: Reason
    refusal: bytes | None = None


class Refusal(NamedTuple):
    """How a blocked sender is told at once, so that it does not wait for its time-out.

    `response` is the STUN error response to `blocked`, to be framed as that was. It is empty where the sender would not
    believe one: then an ICMP error tells it. A TCP connection is reset in both cases. `packet` is the IP packet, or its
    beginning. `incoming` is the interface that it came in by, "" if it is of this machine.
    """

    packet: bytes
    blocked: Datagram
    framing: Framing
    response: bytes
    incoming: str


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded flow: fields and units as in the JSON of `stunwall log`. Times are Unix seconds.

    `flows`: how many flows of one sender this stands for; with several, what differs between them is empty or 0.
    `incoming`: the interface by which a forwarded packet came in, "" if it is of this machine.

    Who sent it, each empty where it is not known: `uid` (-1) and its name `user`, the systemd `unit`, the desktop
    application `app` by its id, the `container`, and the process: `pid` (0), `executable` (a path, or the kernel's name
    of 15 characters) and `command` (its command line). `who` says why something of that is not known, or not certain.

    Why it would have bypassed the VPN: `cause` is a code, `cause_text` the sentence with the rule or route.

    Of a machine behind this one, each empty where it is not known: its MAC address `mac`, and its name `client`, which
    it may have chosen itself: nothing is decided by it.
    """

    time: float
    last_time: float
    count: int
    verdict: str
    reason: str
    protocol: str
    method: str
    transport: str
    family: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    interface: str
    packet: bytes
    flows: int = 1
    incoming: str = ""
    uid: int = -1
    user: str = ""
    unit: str = ""
    app: str = ""
    container: str = ""
    pid: int = 0
    executable: str = ""
    command: str = ""
    who: str = ""
    cause: str = ""
    cause_text: str = ""
    mac: str = ""
    client: str = ""

    @classmethod
    def note(cls, time: float, verdict: str, reason: str) -> "Event":
        """Return an event that is about no packet, as a pause: `verdict` says what happened, `reason` the rest."""
        return cls(time, time, 1, verdict, reason, "", "", "", 0, "", 0, "", 0, "", b"")
