"""`stunwall show`: one entry of the record in full, with its packet decoded."""

from contextlib import closing
from typing import Annotated

import typer

from stunwall.cli import terminal
from stunwall.cli.log import fields_of
from stunwall.cli.options import Json
from stunwall.configfile import reader
from stunwall.model import EXPOSED, Event, Reason, StunwallError
from stunwall.record.reader import RecordReader
from stunwall.stun import detect
from stunwall.text import date_time, endpoint, printable


def show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="ID", help="The ID in `stunwall log`.")],
    as_json: Json = False,
) -> None:
    """Show one entry in full, with its first packet decoded.

    With --json, the packet is in hexadecimal.

    \b
    Example:
      stunwall show 12
    """
    with closing(RecordReader(reader.load(context.obj).state_dir)) as record:
        event = record.event(number)
    if event is None:
        raise StunwallError(f"there is no entry {number}: `stunwall log` lists the IDs")
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
    if not event.destination:  # an event without a packet, such as a pause
        return
    terminal.rows(
        [
            ("Packets", f"{event.count:,}"),
            ("What", f"{_what(event)}, IPv{event.family}"),
            ("From", endpoint(event.source, event.source_port) or "anyone"),
            ("To", endpoint(event.destination, event.destination_port)),
            ("Interface", event.interface),
        ]
    )
    if event.verdict == EXPOSED:
        terminal.rows([("Exposed", detect.mapped_address(event.packet) or "an address that cannot be read")])
    typer.echo(f"\nThe first packet:\n\n{_decode(event.packet)}")


def _what(event: Event) -> str:
    return f"{event.protocol} {event.method} over {event.transport}" if event.transport else "unknown"


def _why(reason: str) -> str:
    return Reason(reason).sentence if reason in list(Reason) else reason


def _decode(packet: bytes) -> str:
    try:
        return _decoded(packet)
    except Exception as error:  # noqa: BLE001 - scapy has many kinds, and the packet is a stranger's
        return f"It cannot be decoded ({error}). Its bytes:\n{packet.hex(' ', 4)}"


def _decoded(packet: bytes) -> str:
    # Imported here because scapy takes half a second.
    from scapy.config import conf
    from scapy.contrib.stun import STUN
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6

    conf.debug_dissector = False  # show undecodable bytes raw
    layers = (IPv6 if packet[:1] and packet[0] >> 4 == 6 else IP)(packet)
    detection = detect.detect(packet)
    for transport in (UDP, TCP):
        if detection is not None and detection.message is not None and transport in layers:
            layers[transport].remove_payload()
    lines = layers.show(dump=True)
    if detection is not None and detection.message is not None:
        lines += STUN(detection.stun).show(dump=True)
    return "\n".join(printable(line) for line in lines.splitlines())
