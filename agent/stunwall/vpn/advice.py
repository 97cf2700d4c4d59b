"""What to do about a packet that bypasses the VPN: the command or the setting that undoes the cause. No I/O."""

from shlex import quote
from typing import assert_never

from stunwall.vpn import clients, iproute
from stunwall.vpn.cause import Cause, Explanation, of_this_machine
from stunwall.vpn.clients import Client
from stunwall.vpn.fib import Rule
from stunwall.vpn.interfaces import may_be_lan
from stunwall.vpn.walk import Fib, Packet, walk

_AGAIN = "it comes back when the program that made it does so again"


def advice(found: Explanation, packet: Packet, fib: Fib) -> str:
    """Return what to do, "" if there is nothing to be done."""
    match found.cause:
        case Cause.VPN | Cause.LOCAL | Cause.INSIDE | Cause.NO_ROUTE | Cause.CHANGED:
            return ""
        case Cause.NO_VPN:
            return (
                "connect your VPN; if it is connected, name its interface in the configuration "
                "(`stunwall vpn` lists all interfaces)"
            )
        case Cause.DEVICE_BOUND:
            return (
                "nothing is wrong with the configuration: the program has chosen the interface, "
                "and no route can change that. That is what stunwall is there for"
            )
        case Cause.SOURCE_BOUND | Cause.RULE | Cause.FORWARDED | Cause.MARK:
            return _about_rules(found, packet, fib)
        case Cause.NO_FAMILY:
            return _about_version(found, packet.version, fib)
        case Cause.ROUTE:
            return _about_route(found)
        case Cause.NOT_DEFAULT:
            return (
                "let the VPN carry all traffic, if it is meant to: for WireGuard, AllowedIPs must have "
                f"{'0.0.0.0/0' if packet.version == 4 else '::/0'}"
            )
    assert_never(found.cause)


def removable(found: Explanation, packet: Packet) -> tuple[Rule, ...]:
    """Return the rules that should not be there: not those by which a VPN client keeps itself out of its tunnel."""
    return () if _own_mark(found, packet) is not None else found.guilty


def _own_mark(found: Explanation, packet: Packet) -> Client | None:
    """Return the client whose own packets have the mark that takes a packet around the VPN, None if there is none."""
    marks = (packet.mark, *(rule.mark for rule in found.guilty)) if found.cause is Cause.MARK else ()
    return next(filter(None, map(clients.of_mark, marks)), None)


def _about_rules(found: Explanation, packet: Packet, fib: Fib) -> str:
    client = _own_mark(found, packet)
    if client is not None:
        return f"{client.name} sets this mark on {client.marked}; another program should not"
    if found.guilty:
        commands = ", ".join(f"`{iproute.remove_rule(rule)}`" for rule in found.guilty)
        which = "the rule" if len(found.guilty) == 1 else "the rules"
        client = next(filter(None, map(clients.of_rule, found.guilty)), None)
        setting = (
            f". It looks like a rule of {client.name}: see {client.setting}" if client is not None else ""
        )
        return f"remove {which}: {commands}; {_AGAIN}{setting}"
    if found.path.route is not None and found.path.route.source is not None:
        return _about_route(found)
    if found.cause is Cause.MARK:
        return "find the program that sets this mark"
    if found.cause is Cause.FORWARDED:
        return _about_forwarding(packet, fib)
    return "no single rule does this: compare `ip rule` with what your VPN's client is meant to set"


def _about_forwarding(packet: Packet, fib: Fib) -> str:
    own = walk(fib, of_this_machine(packet)).route
    if own is None:
        return ""
    name, table = quote(fib.links[packet.incoming].name), iproute.table(own.table)
    command = f"sudo ip{iproute.family(packet.version)} rule add iif {name} lookup {table}"
    return f"the VPN's rules are for this machine's own packets; `{command}` leads what comes from {name} into the VPN"


def _about_route(found: Explanation) -> str:
    route = found.path.route
    if route is None:
        return ""
    if not any(hop.gateway for hop in route.hops) and may_be_lan(route.destination):
        return "it is on a network that is reached without a gateway: `allow_lan = true` lets STUN to the LAN pass"
    command = iproute.remove_route(route)
    return f"if the route is not meant to be there, remove it: `{command}`; {_AGAIN}"


def _about_version(found: Explanation, version: int, fib: Fib) -> str:
    carry = f"let the VPN carry IPv{version}, if it can"
    name = next((fib.links[index].name for index in found.path.interfaces if index in fib.links), "")
    if version == 4 or not name:
        return carry
    return f"{carry}; or switch IPv6 off: `sudo sysctl net.ipv6.conf.{quote(name.replace('.', '/'))}.disable_ipv6=1`"
