"""The decision about one packet: a ladder of rules, the most specific first. No I/O."""

from dataclasses import dataclass

from stunwall.config import BoundTcp, Config, Mode, OnBlock, WhenVpnDown
from stunwall.model import Arrival, Decision, Hook, Origin, Program, Reason, Transport, Verdict
from stunwall.stun.detect import Detection
from stunwall.stun.message import MessageClass, error_response


@dataclass(frozen=True, slots=True)
class View:
    """The network as stunwalld knows it.

    `vpn`: the names of the interfaces that are the VPN. `inside`: those of the interfaces that lead only to machines
    behind this one. `families`: the IP versions (4, 6) that can be redirected into the VPN. `known`: False while the
    network can't be read, so that an empty `vpn` does not mean 'no VPN is up'.
    """

    vpn: frozenset[str]
    families: frozenset[int]
    known: bool = True
    inside: frozenset[str] = frozenset()


def decide(detection: Detection | None, arrival: Arrival, view: View, config: Config) -> Decision:
    """Return what becomes of a packet that the table queued; never 'accept' for want of knowledge."""
    if detection is None:
        if _strays(arrival, view, config):
            return Decision(Verdict.BLOCK, Reason.DEVICE_BOUND)
        # The table sees neither attributes nor every length, so look-alikes get here, too.
        return Decision(Verdict.ACCEPT, Reason.NOT_STUN)
    passing = passes(detection.datagram.family, arrival.hook, arrival.outgoing, view, config)
    if passing is not None:
        return passing
    return Decision(Verdict.BLOCK, _why(detection, arrival, view, config), _refusal(detection, config))


def passes(version: int, hook: Hook, outgoing: str, view: View, config: Config) -> Decision | None:
    """Return why STUN of an IP version is not blocked where it leaves by an interface, None if it is.

    The order matters. At the output hook the interface can still change, so nothing is let out or blocked for good.
    In postrouting the interface comes first; whether any VPN is up only matters for what does not leave by it.
    """
    if outgoing in view.inside:
        # A container or VM appeared between the table's look at its set and ours. At the output hook this lets nothing
        # out: if another interface is chosen after it, postrouting sees that.
        return Decision(Verdict.ACCEPT, Reason.INSIDE)
    if hook is Hook.OUTPUT:
        if config.mode is Mode.REDIRECT and version in view.families:
            return Decision(Verdict.REDIRECT, Reason.REDIRECTED)
        return Decision(Verdict.ACCEPT, Reason.WALL_DECIDES)
    if outgoing in view.vpn:
        # The VPN came up between the table's look at its set and ours.
        return Decision(Verdict.ACCEPT, Reason.THROUGH_VPN)
    if view.known and not view.vpn and config.when_vpn_down is WhenVpnDown.ALLOW:
        return Decision(Verdict.ACCEPT, Reason.VPN_DOWN_ALLOWED)
    return None


def decide_checked(detection: Detection, arrival: Arrival, view: View, config: Config) -> Decision:
    """Return what would become of a request to a server of a check. The packet itself never leaves.

    The table has not decided about it. It says by the mark what it knows and stunwalld does not: both bits for IPsec,
    `passed` where an exception fits.
    """
    passed = arrival.mark & config.passed_bit
    if arrival.hook is Hook.POSTROUTING and arrival.outgoing not in view.inside:
        if arrival.mark & config.mark_mask == config.mark_mask:
            return Decision(Verdict.ACCEPT, Reason.THROUGH_VPN)
        if arrival.outgoing in view.vpn and arrival.mark & config.redirected_bit:
            return Decision(Verdict.REDIRECT, Reason.REDIRECTED)
        if arrival.outgoing not in view.vpn and passed:
            return Decision(Verdict.ACCEPT, Reason.EXCEPTION)
    return decide(detection, arrival, view, config)


def decide_response(detection: Detection | None, arrival: Arrival, view: View) -> Decision:
    """Return what becomes of a success response that came in by a way out, to a request that the table did not pass."""
    if detection is None:
        return Decision(Verdict.ACCEPT, Reason.NOT_STUN)
    if arrival.incoming in view.vpn:
        return Decision(Verdict.ACCEPT, Reason.THROUGH_VPN)
    if arrival.incoming in view.inside:
        return Decision(Verdict.ACCEPT, Reason.INSIDE)
    if not arrival.awaited:
        # Anyone can send one. It may also be too late, for a socket that is closed.
        return Decision(Verdict.BLOCK, Reason.UNASKED)
    return Decision(Verdict.BLOCK, Reason.EXPOSED)


def decide_handshake(version: int, origin: Origin, arrival: Arrival, view: View, config: Config) -> Decision:
    """Return what becomes of the first segment of a TCP connection, at the output hook, before it leaves by a way out.

    It carries no STUN, but the address that it comes from. Only where nothing but the binding of a socket takes it
    around the VPN is it stopped: whatever else leads outside is the user's will. A program that is not known is
    taken for one that does WebRTC, as a page could make its browser close the socket at once.
    """
    if arrival.outgoing in view.inside:
        return Decision(Verdict.ACCEPT, Reason.INSIDE)
    if arrival.outgoing in view.vpn:
        return Decision(Verdict.ACCEPT, Reason.THROUGH_VPN)
    if origin.route not in view.vpn:
        return Decision(Verdict.ACCEPT, Reason.ROUTED_OUTSIDE)
    if config.bound_tcp is not BoundTcp.ALL and origin.program is Program.OTHER:
        return Decision(Verdict.ACCEPT, Reason.NO_WEBRTC)
    if config.mode is Mode.REDIRECT and version in view.families and not origin.bound_to_device:
        return Decision(Verdict.REDIRECT, Reason.REDIRECTED)
    # Without a STUN message there is nothing to answer but the segment itself.
    return Decision(Verdict.BLOCK, Reason.BOUND, None if config.on_block is OnBlock.DROP else b"")


def _strays(arrival: Arrival, view: View, config: Config) -> bool:
    """Whether a packet of a redirected flow would leave outside the VPN: none may, whatever it is."""
    redirected = config.mode is Mode.REDIRECT and arrival.mark & config.redirected_bit
    return (
        bool(redirected)
        and arrival.hook is Hook.POSTROUTING
        and arrival.outgoing not in view.vpn | view.inside
    )


def _why(detection: Detection, arrival: Arrival, view: View, config: Config) -> Reason:
    """Return why a packet outside the VPN was not redirected, the plainest reason first."""
    if not view.vpn:
        return Reason.NO_VPN
    if config.mode is Mode.BLOCK:
        return Reason.OUTSIDE_VPN
    if arrival.mark & config.redirected_bit:
        return Reason.DEVICE_BOUND
    if arrival.incoming:
        return Reason.FORWARDED
    if detection.datagram.family not in view.families:
        return Reason.NO_FAMILY
    if detection.datagram.transport is Transport.TCP:
        return Reason.TCP
    return Reason.KNOWN_FLOW


def _refusal(detection: Detection, config: Config) -> bytes | None:
    """Return the response of a Refusal, None where the sender is not told."""
    if config.on_block is OnBlock.DROP:
        return None
    message = detection.message
    if message is None or message.message_class is MessageClass.REQUEST:
        # RFC 8489 §6.2.1: a hard ICMP error ends a transaction, too.
        return error_response(detection.stun, detection.datagram.transport, message) or b""
    # Nobody waits for an answer to an indication or a response. But a stream that lacks one gets no further.
    return b"" if detection.datagram.transport is Transport.TCP else None
