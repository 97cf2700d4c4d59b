"""What goes into the record: of a packet that was judged, or of something that happened."""

import time

from stunwall.model import Arrival, Decision, Event
from stunwall.stun.detect import Detection


def of_packet(decision: Decision, detection: Detection, arrival: Arrival) -> Event:
    """Return the event of a packet that was judged just now."""
    datagram = detection.datagram
    now = time.time()
    return Event(
        time=now,
        last_time=now,
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
    )


def note(verdict: str, reason: str) -> Event:
    """Return an event that is about no packet."""
    now = time.time()
    return Event(now, now, 1, verdict, reason, "", "", "", 0, "", 0, "", 0, "", b"")
