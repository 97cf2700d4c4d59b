"""`stunwall show`: one entry of the record, with its packet decoded."""

import struct
from contextlib import closing
from typing import Annotated

import typer

from stunwall.cli import terminal
from stunwall.cli.log import fields_of
from stunwall.cli.options import Json
from stunwall.configfile import reader
from stunwall.model import Event, Reason, StunwallError
from stunwall.record.reader import RecordReader
from stunwall.stun import detect
from stunwall.text import date_time, endpoint, printable


def show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="ID", help="The number that `stunwall log` shows.")],
    as_json: Json = False,
) -> None:
    """Show one entry whole, with its first packet taken apart.

    \b
    Example:
      stunwall show 12
    """
    with closing(RecordReader(reader.load(context.obj).state_dir)) as record:
        event = record.event(number)
    if event is None:
        raise StunwallError(f"there is no entry {number}: `stunwall log` shows the numbers")
    if as_json:
        terminal.print_json(fields_of(number, event) | {"packet": event.packet.hex()})
        return
    _show(number, event)


def _show(number: int, event: Event) -> None:
    terminal.rows(
        [
            ("Entry", str(number)),
            ("Verdict", f"{event.verdict}: {_why(event.reason)}"),
            ("First", date_time(event.time)),
            ("Last", date_time(event.last_time)),
        ]
    )
    if not event.destination:  # a pause: it is about no packet
        return
    terminal.rows(
        [
            ("Packets", f"{event.count:,}"),
            ("What", f"{event.protocol} {event.method} over {event.transport}, IPv{event.family}"),
            ("From", endpoint(event.source, event.source_port)),
            ("To", endpoint(event.destination, event.destination_port)),
            ("Interface", event.interface),
        ]
    )
    typer.echo(f"\nThe first packet:\n\n{_apart(event.packet)}")


def _why(reason: str) -> str:
    return Reason(reason).sentence if reason in list(Reason) else reason


def _apart(packet: bytes) -> str:
    try:
        return _decoded(packet)
    except (struct.error, LookupError, TypeError, ValueError) as error:  # scapy's, on what is cut short
        return f"It cannot be taken apart ({error}); its bytes:\n{packet.hex(' ', 4)}"


def _decoded(packet: bytes) -> str:
    # Slow to import, so only here.
    from scapy.config import conf
    from scapy.contrib.stun import STUN
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6

    conf.debug_dissector = False  # bytes that do not fit are shown raw
    layers = (IPv6 if packet[:1] and packet[0] >> 4 == 6 else IP)(packet)
    detection = detect.detect(packet)
    for transport in (UDP, TCP):
        if detection is not None and detection.message is not None and transport in layers:
            layers[transport].remove_payload()
    lines = layers.show(dump=True)
    if detection is not None and detection.message is not None:
        lines += STUN(detection.stun).show(dump=True)
    return "\n".join(printable(line) for line in lines.splitlines())
