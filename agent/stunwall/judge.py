"""The way of one packet: from what the queue hands over to what the daemon has to carry out. No I/O.

Theory of operation

The table in the kernel (rules/stunwall.nft) recognises STUN and queues it at one of two hooks. judge() decides on the
packet alone and returns a value, which daemon/packets.py carries out: the verdict, the refusal, the record.

*Why postrouting.* Only there is the outgoing interface final: rules by mark, a source address, SO_BINDTODEVICE, a
forwarded packet and a VPN that comes or goes have all had their say. The chain has priority srcnat - 10, so the
sender still has its own address. A packet that arrives there and does not leave by the VPN is blocked.

*Why the output hook.* A mark set in an output chain of `type route` makes the kernel route the packet again. It is
the only hook where a local packet can still be moved into the VPN, and in postrouting it would be too late. So with
mode = "redirect" the first packet of a UDP flow is queued there, before it is queued (or not) in postrouting. Nothing
is blocked at this hook and nothing is let out for good: every packet still meets postrouting.

*Why the first segment of a TCP connection.* A page can name a TURN server of its own. Where a browser opens the
connection to it from a socket that is bound to the physical address, that segment shows the address, before any STUN.
So it is queued at the output hook too (rules/bound_tcp.nft). The verdict depends on where routing would lead it without
the binding, and on the program: `Arrival.origin`, which the daemon looks up before it calls judge().

*Why prerouting.* Some requests get out unseen, as the second segment of a UDP_SEGMENT send, or one that was sent
before the table was there. The table remembers the flows whose STUN it let pass; a success response by a way out in
any other flow is queued in prerouting. It proves that a server has seen the real address, and is dropped, so that the
page that asked learns nothing. If no program waits for it, it proves nothing, as anyone can send one: then it is
recorded without its sender, so that all of them are one entry a minute.

*What a check asks.* `stunwall check --browser` lets a page ask made-up servers, whose addresses are in the table's sets
`checked4` and `checked6` for a minute. The table queues such a request in postrouting whatever interface it would leave
by, the VPN's too. judge() says what would become of it, and has it answered and dropped: it never leaves and is not
recorded. At the output hook it is redirected as any other, so that it shows where that leads. Without stunwalld the
table drops it.

*What each mark bit means.* `mark_mask` has two bits. The lower one, `redirected`, says that judge() moved this packet,
or an earlier one of its flow, into the VPN: a routing rule looks for it. A packet that has it in postrouting and does
not leave by the VPN is a redirect that failed, as the kernel does not route a socket bound to a device again; it is
blocked. The higher one, `passed`, is set in postrouting on STUN that may bypass the VPN; the second lock drops what
does not have it. Both together on a packet are stunwalld's own (refusal, probe), and the table handles them.

*What can race.* `view` and the table's set of VPN interfaces come from the same snapshot, but not at the same instant.
A packet may be queued although the VPN came up meanwhile, hence the look at `view.vpn` in postrouting. An interface
that stops being the VPN stays in the set until the next transaction, a few milliseconds. A redirected packet meets
postrouting again while the daemon gives its verdict. If it is queued there, the daemon records the redirect first, as
it records packets in their order; if it is blocked, that record is retracted. While the network cannot be read, `view`
is empty and not `known`, and everything is blocked.

*Why nothing unknown is accepted.* The table's matches for UDP are coarse, so the queue also holds look-alikes. What
parses and is positively not STUN passes. What does not parse is blocked, since the receiver may read it in another way
than we do.
An exception in judge() is caught by queue/nfqueue.py, which drops the packet.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from stunwall.config import Config
from stunwall.model import (
    EXPOSED,
    Arrival,
    Checked,
    Datagram,
    Decision,
    Event,
    Hook,
    Protocol,
    Reason,
    Refusal,
    Transport,
    Verdict,
)
from stunwall.policy import View, decide, decide_checked, decide_handshake, decide_response
from stunwall.stun import message, packet
from stunwall.stun.detect import Detection, classify, classify_response

# These are no attempt to bypass the VPN, or the packet is judged once more.
_UNRECORDED = frozenset(
    {Reason.THROUGH_VPN, Reason.INSIDE, Reason.WALL_DECIDES, Reason.ROUTED_OUTSIDE, Reason.NO_WEBRTC}
)


class Judgement(NamedTuple):
    """What to do with one packet.

    `refusal` is to be sent to the packet's sender, None for nothing. `datagram`: what the event is about, None if it
    could not be read. `would`: what would have become of a packet of a check, None for any other. `make_event` and
    `make_retracted` return what `event` and `retracted` are: the packet need not wait for it.
    """

    verdict: Verdict
    reason: Reason
    refusal: Refusal | None = None
    datagram: Datagram | None = None
    would: Verdict | None = None
    make_event: Callable[[], Event] | None = None
    make_retracted: Callable[[], Event] | None = None

    @property
    def event(self) -> Event | None:
        """What is to be recorded, None for nothing."""
        return None if self.make_event is None else self.make_event()

    @property
    def retracted(self) -> Event | None:
        """An earlier record that turned out wrong."""
        return None if self.make_retracted is None else self.make_retracted()


def judge(arrival: Arrival, view: View, config: Config) -> Judgement:
    """Return what becomes of a packet that the table queued. Never raises for what is in the packet."""
    return judge_parsed(parsed(arrival.packet), arrival, view, config)


def parsed(data: bytes) -> Datagram | None:
    """Return the datagram in an IP packet, None if it cannot be read."""
    try:
        return packet.parse(data)
    except packet.PacketError:
        return None


def judge_parsed(datagram: Datagram | None, arrival: Arrival, view: View, config: Config) -> Judgement:
    """As `judge`, for a packet that `parsed` has read."""
    if datagram is None:
        return Judgement(Verdict.BLOCK, Reason.UNREADABLE, make_event=partial(_unreadable, arrival))
    if arrival.hook is Hook.PREROUTING:
        return _judge_response(datagram, arrival, view)
    if arrival.checked is not None:
        return _judge_checked(datagram, arrival.checked, arrival, view, config)
    detection: Detection | None
    if arrival.origin is not None:
        detection = Detection(datagram, (Protocol.HANDSHAKE, "SYN"))
        decision = decide_handshake(datagram.family, arrival.origin, arrival, view, config)
    else:
        detection = classify(datagram, config.guard_ports) or _rest(datagram)
        decision = decide(detection, arrival, view, config)
    if detection is None or decision.reason in _UNRECORDED:
        return Judgement(decision.verdict, decision.reason)
    return Judgement(
        decision.verdict,
        decision.reason,
        refusal=_refusal(decision, detection, arrival, view),
        datagram=datagram,
        make_event=partial(_event, decision, detection, arrival),
        make_retracted=_retracted(decision, detection, arrival),
    )


def _rest(datagram: Datagram) -> Detection | None:
    """Return what TCP carries that is not STUN by itself: the rest of a segment that began with STUN.

    For TCP the table is exact, but the kernel cuts large segments to size on the way from the table to the queue
    (net/netfilter/nfnetlink_queue.c, nfqnl_enqueue_packet).
    """
    if datagram.transport is Transport.UDP:
        return None
    return Detection(datagram, (Protocol.STUN, "segment"))


def _judge_checked(
    datagram: Datagram, checked: Checked, arrival: Arrival, view: View, config: Config
) -> Judgement:
    detection = classify(datagram, config.guard_ports)
    if detection is None:
        return Judgement(Verdict.BLOCK, Reason.NOT_STUN)
    decision = decide_checked(detection, arrival, view, config)
    if arrival.hook is Hook.OUTPUT:  # postrouting decides
        return Judgement(decision.verdict, decision.reason)
    if checked.label is None or arrival.incoming:
        return Judgement(Verdict.BLOCK, decision.reason)
    if checked.as_usual and decision.verdict is Verdict.BLOCK:
        refusal = _refusal(decision, detection, arrival, view)
    else:
        told = message.success_response(detection.stun, checked.label, datagram.source_port)
        refusal = _refusal(decision._replace(refusal=told), detection, arrival, view)
    return Judgement(
        Verdict.BLOCK, decision.reason, refusal=refusal, datagram=datagram, would=decision.verdict
    )


def _judge_response(datagram: Datagram, arrival: Arrival, view: View) -> Judgement:
    detection = classify_response(datagram)
    decision = decide_response(detection, arrival, view)
    if detection is None or decision.verdict is not Verdict.BLOCK:
        return Judgement(decision.verdict, decision.reason)
    event = partial(_inbound, decision, detection, arrival)
    return Judgement(decision.verdict, decision.reason, make_event=event)


def _inbound(decision: Decision, detection: Detection, arrival: Arrival) -> Event:
    event = replace(_event(decision, detection, arrival), interface=arrival.incoming, incoming="")
    if decision.reason is Reason.UNASKED:
        return replace(event, source="", source_port=0, destination_port=0)
    # As in every other event, the source is who asked.
    return replace(
        event,
        verdict=EXPOSED,
        source=event.destination,
        source_port=event.destination_port,
        destination=event.source,
        destination_port=event.source_port,
    )


def _unreadable(arrival: Arrival) -> Event:
    source, destination = packet.addresses(arrival.packet) or ("", "")
    return replace(
        Event.note(arrival.time, Verdict.BLOCK.value, Reason.UNREADABLE.value),
        protocol=Protocol.UNKNOWN.value,
        family=arrival.packet[0] >> 4 if source else 0,
        source=str(source),
        destination=str(destination),
        interface=arrival.outgoing or arrival.incoming,
        packet=arrival.packet,
        incoming=arrival.incoming if arrival.outgoing else "",
    )


def _event(decision: Decision, detection: Detection, arrival: Arrival) -> Event:
    datagram = detection.datagram
    return Event(
        time=arrival.time,
        last_time=arrival.time,
        count=1,
        verdict=decision.verdict.value,
        reason=decision.reason.value,
        protocol=detection.protocol.value,
        method=detection.method,
        transport=datagram.transport.value,
        family=datagram.family,
        source=str(datagram.source),
        source_port=datagram.source_port,
        destination=str(datagram.destination),
        destination_port=datagram.destination_port,
        interface=arrival.outgoing,
        packet=arrival.packet,
        incoming=arrival.incoming,
    )


def _retracted(decision: Decision, detection: Detection, arrival: Arrival) -> Callable[[], Event] | None:
    """Return what makes the event 'redirected' of the same packet at the output hook, if postrouting has proved that
    wrong."""
    if decision.reason is not Reason.DEVICE_BOUND:
        return None
    return partial(_event, Decision(Verdict.REDIRECT, Reason.REDIRECTED), detection, arrival)


def _refusal(decision: Decision, detection: Detection, arrival: Arrival, view: View) -> Refusal | None:
    # Whatever came in by a way out or through the VPN has its sender out there: a refusal would tell a stranger that
    # stunwall runs here, and a forged address would make it a tool.
    if decision.refusal is None or (arrival.incoming and arrival.incoming not in view.inside):
        return None
    return Refusal(arrival.packet, detection.datagram, detection.framing, decision.refusal, arrival.incoming)
