"""Packets of the record as a capture for Wireshark."""

from collections.abc import Iterator
from typing import BinaryIO

from scapy.packet import Raw
from scapy.utils import RawPcapNgWriter

from stunwall.model import Event
from stunwall.reasons import sentence
from stunwall.text import count, printable, sender

_RAW_IP = 101  # https://www.tcpdump.org/linktypes.html, LINKTYPE_RAW: it begins with the IP header


def write(entries: Iterator[tuple[int, Event]], file: BinaryIO) -> None:
    """Write the first packet of each entry, with its time, interface and a comment (draft-ietf-opsawg-pcapng)."""
    with RawPcapNgWriter(f"/dev/fd/{file.fileno()}") as capture:
        capture.linktype = _RAW_IP
        capture.write_header(None)
        for number, event in entries:
            if event.packet:
                packet = Raw(event.packet)
                packet.time = event.time
                packet.sniffed_on = event.interface or None
                packet.comments = [_comment(number, event).encode()]
                capture.write_packet(packet)


def _comment(number: int, event: Event) -> str:
    why = sentence(event)
    whose = f", of {sender(event)}" if sender(event) else ""
    return printable(
        f"stunwall entry {number}: {event.verdict}, {count(event.count, 'packet')}{whose}: {why}"
        + (f". {event.cause_text}" if event.cause_text else "")
    )
