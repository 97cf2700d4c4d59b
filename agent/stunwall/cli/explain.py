"""`stunwall explain`: the packet in question, from an entry's ID or from options."""

import os
import pwd
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address
from typing import Annotated, Any

import typer

from stunwall.cli import explanation, terminal
from stunwall.cli.options import Json, Redact
from stunwall.cli.record import open_record
from stunwall.cli.redacted import redaction
from stunwall.config import Config
from stunwall.configfile import reader
from stunwall.model import FAMILIES, Address, Event, StunwallError, Transport
from stunwall.presets.match import match
from stunwall.presets.table import presets
from stunwall.vpn.cause import Cause
from stunwall.vpn.explain import Routing
from stunwall.vpn.walk import Packet

_PORT_MAX = 0xFFFF
_NUMBER_MAX = 0xFFFFFFFF  # of marks and users, which have 32 bits

To = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", help="Destination; a name is looked up, which may ask a DNS server."),
]
From = Annotated[str, typer.Option("--from", metavar="ADDRESS", help="Address that its socket is bound to.")]
Device = Annotated[str, typer.Option(metavar="IF", help="Interface that its socket is bound to.")]
Uid = Annotated[str, typer.Option(metavar="USER", help="Its user, by name or number; you if not given.")]
Mark = Annotated[str, typer.Option(metavar="MARK", help="Its mark, such as 0x1; none if not given.")]
Protocol = Annotated[Transport, typer.Option(metavar="udp|tcp", help="Its transport protocol.")]
Six = Annotated[bool, typer.Option("-6", help="Take the IPv6 address of a name.")]


def explain(
    context: typer.Context,
    number: Annotated[int | None, typer.Argument(metavar="ID", help="The ID in `stunwall log`.")] = None,
    to: To = "",
    source: From = "",
    device: Device = "",
    uid: Uid = "",
    mark: Mark = "",
    protocol: Protocol = Transport.UDP,
    six: Six = False,
    as_json: Json = False,
    redact: Redact = False,
) -> None:
    """Explain why a packet bypasses the VPN, and what to do about it.

    Either an entry of the record, or a packet that nobody sends, with --to.
    The answer is from the routing rules and routes as they are now. It needs
    neither the daemon nor, with --to, any permission.

    \b
    Examples:
      stunwall explain 12
      stunwall explain --to 203.0.113.7:3478
      stunwall explain --to 203.0.113.7:3478 --from 192.168.1.5
      stunwall explain --to stun.example.org:3478 -6 --device eth0
    """
    config = reader.load(context.obj)
    if (number is None) is not bool(to):
        raise typer.BadParameter("expected either the ID of an entry, or --to HOST:PORT")
    said = _recorded(number, config) if number is not None else _asked(context.params, config)
    if hidden := redaction(redact):
        said = hidden.value(said)
    if as_json:
        terminal.print_json(said)
    else:
        explanation.show(said)


def _recorded(number: int, config: Config) -> dict[str, Any]:
    with closing(open_record(config)) as record:
        event = record.event(number)
    if event is None:
        raise StunwallError(f"there is no entry {number}: `stunwall log` lists the IDs")
    if not event.destination or not event.source:
        raise StunwallError(
            f"entry {number} is not about a packet with both addresses: see `stunwall show {number}`"
        )
    try:
        said = explanation.of_event(event, config)
    except ValueError as error:
        raise StunwallError(f"entry {number} is damaged: {error}") from error
    more = {"preset": _preset(event), "contradiction": _contradiction(event, said["cause"])}
    return {"id": number} | said | more


def _contradiction(event: Event, cause: str) -> str:
    """Return what to say if the policy of the browser that made the attempt forbids it."""
    if not event.executable or event.incoming:
        return ""
    from stunwall.browsers import machine
    from stunwall.browsers.contradiction import contradiction

    bound = cause in (Cause.SOURCE_BOUND, Cause.DEVICE_BOUND)
    udp = event.transport == Transport.UDP
    return contradiction(machine.this_machine(), event.executable, event.uid, udp, bound, event.last_time)


def _preset(event: Event) -> dict[str, Any] | None:
    """Return the preset for the program that was blocked, if there is one."""
    found = match(event, presets().values())
    if found is None:
        return None
    return {
        "name": found.preset.name,
        "by_name_only": found.place is None,
        "command": found.command,
        "reveals": found.preset.reveals,
    }


def _asked(options: Mapping[str, Any], config: Config) -> dict[str, Any]:
    destination, port = _destination(options["to"], options["six"])
    mark, uid, source, device = (options[name] for name in ("mark", "uid", "source", "device"))
    packet = Packet(
        destination,
        mark=_number(mark, "--mark") if mark else 0,
        uid=_user(uid) if uid else os.getuid(),
        protocol=Transport(options["protocol"]).number,
        destination_port=port,
    )
    address = _source(source, packet.version) if source else None
    found = explanation.read(packet.destination, address, config)
    if device:
        packet = replace(packet, device=_index(device, found))
    if address is not None:
        packet = explanation.sent_from(packet, address, found)
        if device and not packet.device:
            raise typer.BadParameter(
                f"{source} is no address of this machine, so no socket here is bound to it: leave out --device",
                param_hint="--from",
            )
    return explanation.answer(packet, found, config)


def _destination(to: str, six: bool) -> tuple[Address, int]:
    host, _, port = to.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= _PORT_MAX:
        raise typer.BadParameter(
            "expected HOST:PORT, such as 203.0.113.7:3478 or [2001:db8::1]:3478", param_hint="--to"
        )
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        address = _resolved(host, six)
    if six and address.version == 4:
        raise typer.BadParameter(f"{address} is an IPv4 address: leave out -6", param_hint="-6")
    if address.is_multicast or address.is_unspecified:
        raise typer.BadParameter(f"{address} is not the address of one machine", param_hint="--to")
    return address, int(port)


def _resolved(name: str, six: bool) -> Address:
    family = FAMILIES[6] if six else socket.AF_UNSPEC
    try:
        found = socket.getaddrinfo(name, None, family, socket.SOCK_DGRAM)
        return ip_address(found[0][4][0])
    except (OSError, UnicodeError, ValueError) as error:
        kind = "IPv6 " if six else ""
        raise StunwallError(
            f"cannot find the {kind}address of {name} ({error}): give the address itself"
        ) from error


def _source(given: str, version: int) -> Address:
    try:
        address = ip_address(given)
    except ValueError:
        raise typer.BadParameter("expected an IP address", param_hint="--from") from None
    if address.version != version:
        raise typer.BadParameter(f"expected an IPv{version} address, as that of --to", param_hint="--from")
    return address


def _index(name: str, found: Routing) -> int:
    index = next((link.index for link in found.snapshot.links if link.name == name), None)
    if index is None:
        raise typer.BadParameter("there is no such interface: see `ip link`", param_hint="--device")
    return index


def _user(given: str) -> int:
    if given.isdecimal():
        return _number(given, "--uid")
    try:
        return pwd.getpwnam(given).pw_uid
    except KeyError:
        raise typer.BadParameter("there is no such user", param_hint="--uid") from None


def _number(given: str, option: str) -> int:
    try:
        number = int(given, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= _NUMBER_MAX:
        raise typer.BadParameter(f"expected a number from 0 to {_NUMBER_MAX:#x}", param_hint=option)
    return number
