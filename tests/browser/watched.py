"""Calls, and what leaves the client meanwhile."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from browser.call import SETUP_SECONDS, CallFailedError, CallReport, Way, call
from browser.peer import OTHERS, Crossing, Peer
from browser.program import Browser
from lab.addresses import FAMILIES, VPN_PORT
from lab.frame import Packet
from lab.leaks import SOURCE_RULE
from lab.namespace import Namespace
from lab.topology import Lab
from lab.wire import Wire


@contextmanager
def reachable_peer(lab: Lab) -> Iterator[Peer]:
    """The other end; on the client a VPN carries both families, and the leaking source rule exists.

    Like any VPN server, the lab's takes no new flows from outside: a connectivity check from the peer would
    otherwise take the port that the client's check needs.
    """
    with Peer(lab) as peer, SOURCE_RULE.made(lab, *FAMILIES), closed(lab.server, "input", "eth0"):
        yield peer


def closed(namespace: Namespace, hook: str, interface: str) -> AbstractContextManager[None]:
    """New flows that come in by `interface` are dropped, except WireGuard's. `hook`: input or forward."""
    chain = f"""
        chain {hook} {{
            type filter hook {hook} priority filter
            iifname "{interface}" udp dport != {VPN_PORT} ct state new drop
        }}
    """
    return namespace.table("inet lab_closed", chain)


@dataclass(frozen=True, slots=True)
class Seen:
    """A call, and what left the client from before its browsers started until after they ended."""

    report: CallReport | CallFailedError
    outside: list[Packet]
    """The packets from its physical interface to the STUN and TURN server or the peer."""
    stun: list[Packet]
    """The packets from that interface that contain STUN's cookie."""
    beyond: int
    """How many packets there are in `outside`, counted beyond the provider's NAT."""
    inwards: int
    """How many came back to the client's real address. The peer tries the IPv6 one, which is a host candidate."""
    total: int
    """How many packets left by that interface in all, the VPN's own included."""

    def __str__(self) -> str:
        return (
            f"{self.report}\noutside the VPN: {len(self.outside)} packets from the client to server or peer"
            f" ({self.beyond} beyond the NAT, {self.inwards} in the other direction), {self.total} in all"
        )

    @property
    def works(self) -> bool:
        """Whether data and video went in both directions."""
        if isinstance(self.report, CallFailedError):
            return False
        return all(side.frames and side.received for side in (self.report.client, self.report.peer))

    @property
    def connected(self) -> CallReport:
        """The call's report; raises CallFailedError if it failed."""
        if isinstance(self.report, CallFailedError):
            raise self.report
        return self.report


def watched(
    lab: Lab,
    peer: Peer,
    protected: Browser,
    way: Way,
    seconds: float,
    gather_first: bool = True,
    patience: float = SETUP_SECONDS,
    inside: Sequence[str] = (),
) -> Seen:
    """Makes a call as `call` does, which may fail, and captures packets throughout."""
    report: CallReport | CallFailedError
    with Wire(lab) as wire, Crossing(lab) as crossing:
        try:
            report = call(lab, peer, protected, way, seconds, gather_first, patience, inside)
        except CallFailedError as failed:
            report = failed
        stun = wire.stun()
        packets = wire.packets()
    outside = [packet for packet in packets if packet.destination in OTHERS]
    return Seen(report, outside, stun, crossing.from_client, crossing.to_client, len(packets))
