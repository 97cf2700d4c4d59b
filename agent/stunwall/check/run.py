"""Tries each way on the wire: a message that asks for the own address, and beside it a packet that does not."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stunwall.check import messages, probe
from stunwall.check.messages import Variant
from stunwall.check.probe import Probe
from stunwall.check.verdict import Hops, Result, Verdict, judge
from stunwall.check.ways import DESTINATIONS, Way, ways
from stunwall.model import Address, Transport
from stunwall.vpn import interfaces, ip_versions, routing
from stunwall.vpn.explain import Routing, destinations
from stunwall.vpn.inside import Named

HOPS_MAX = 3  # routers: the next one, then the second and the third if it reports nothing
# Seconds for the report of a router, or the verdict of a daemon that is busy. After 1 s (TCP_TIMEOUT_INIT in
# include/net/tcp.h) a connection that got no answer begins anew without the payload: what is reported then is no STUN.
SECONDS = 0.5
# Seconds from one try to the next. A router may report 6 packets at once, then one a second (icmp_ratelimit in icmp(7);
# XRLIM_BURST_FACTOR in net/ipv4/icmp.c): here, two.
PERIOD = 2.1
TRIES = 6
ONLY_ROOT = "only root can send with a mark: use sudo"
PROVEN = 3  # tries in which no STUN was seen, as packets and reports can be lost


@dataclass(slots=True, eq=False)
class _Trial:
    """A way with a transport protocol, and the packets of its last try: messages, and a control that is no STUN."""

    way: Way
    transport: Transport
    stun: list[Probe]
    control: Probe
    proven: int = 0
    """In how many tries a message would have been reported, and was not."""

    @property
    def reported(self) -> bool:
        """Whether a router has reported a packet."""
        return self.seen or self.control.seen_by is not None

    @property
    def seen(self) -> bool:
        """Whether a router has reported a message."""
        return any(each.seen_by for each in self.stun)

    @property
    def sure(self) -> bool:
        """Whether no message leaves."""
        return self.proven >= PROVEN or all(each.answered for each in self.stun)

    def finished(self, tries: int, together: Sequence["_Trial"], vpn_hops: frozenset[Address]) -> bool:
        """Whether another try would show nothing more. `together`: those that leave as this one does, with itself."""
        if not any(each.reported for each in together):
            return True  # the next router may report
        if self.way.into_vpn:
            return all(each.seen_by for each in self.stun) or tries >= PROVEN
        if self.seen:
            # Seen by a router of the VPN: the control shows whether it was only moved there.
            moved = any(each.seen_by in vpn_hops for each in self.stun)
            return not moved or self.control.seen_by is not None or tries >= PROVEN
        return self.control.seen_by is not None and self.sure

    def renew(self) -> None:
        """Put new packets in place of those that were not reported."""
        self.stun = [each if each.seen_by else each.again() for each in self.stun]
        if not self.control.seen_by:
            self.control = self.control.again()


def forecast(named: Named) -> tuple[list[Way], frozenset[Address]]:
    """Return the ways out of this machine, and its addresses. Nothing is sent. Raises RoutingError."""
    found: list[Way] = []
    own: set[Address] = set()
    for version in sorted(ip_versions.available()):
        there: Routing = routing.read(destinations(DESTINATIONS[version], None), named.interfaces)
        found += ways(there, version, named, os.getuid())
        own.update(address for each in there.snapshot.all_addresses.values() for address in each)
    return found, frozenset(own)


def owners(named: Named) -> dict[Address, tuple[str, bool]]:
    """Return the interface of each of this machine's addresses, and whether it is the VPN. Raises RoutingError."""
    found: dict[Address, tuple[str, bool]] = {}
    for version in sorted(ip_versions.available()):
        there = routing.read(destinations(DESTINATIONS[version], None), named.interfaces).snapshot
        vpn = interfaces.vpn_names(there, named.interfaces)
        for link in there.links:
            for address in there.all_addresses.get(link.index, ()):
                found[address] = link.name, link.name in vpn
    return found


def ways_to(servers: Mapping[int, Address], port: int, named: Named) -> list[Way]:
    """Return the ways out of this machine to a server's addresses, by IP version. Raises RoutingError."""
    found: list[Way] = []
    for version, address in sorted(servers.items()):
        there = routing.read(destinations(address, None), named.interfaces)
        found += ways(there, version, named, os.getuid(), (address, port))
    return found


def examine(found: Iterable[Way], own: frozenset[Address], variants: Sequence[Variant]) -> list[Result]:
    """Try each way that leaves the machine, and return what that shows, in the order of the ways.

    `own`: the machine's addresses. It takes at most HOPS_MAX * TRIES * PERIOD seconds, a few as a rule.
    """
    marks = probe.may_mark()
    trials: list[_Trial] = []
    results: list[Result] = []
    in_vpn: set[tuple[int, tuple[str, ...], tuple[Transport, ...]]] = set()
    for way in found:
        entrance = way.packet.version, way.interfaces, way.transports
        if not way.leaves:
            why = way.explanation.cause.sentence
        elif way.into_vpn and entrance in in_vpn:
            why = "it enters the VPN as another way does that is tried"
        elif way.needs_root and not marks:
            why = ONLY_ROOT
        else:
            trials += [_trial(way, transport, variants) for transport in way.transports]
            if way.into_vpn:
                in_vpn.add(entrance)
            continue
        results += [Result(way, transport, Verdict.NOT_SENT, why) for transport in way.transports]
    _try(trials, own)
    hops = Hops(
        _vpn_hops(trials),
        frozenset(filter(None, (each.control.seen_by for each in trials if not each.way.into_vpn))),
    )
    for trial in trials:
        shown = judge(trial.stun, trial.control, hops, sure=trial.sure)
        results.append(Result(trial.way, trial.transport, *shown))
    order = {way: at for at, way in enumerate(found)}
    return sorted(results, key=lambda result: order[result.way])


def _trial(way: Way, transport: Transport, variants: Sequence[Variant]) -> _Trial:
    stun = [
        Probe(way, each.name, transport, messages.PORT, each.payload)
        for each in variants
        if each.transport is transport
    ]
    port = messages.CONTROL_PORT if way.into_vpn else messages.PORT
    return _Trial(way, transport, stun, Probe(way, "", transport, port, messages.control))


def _try(trials: Sequence[_Trial], own: frozenset[Address]) -> None:
    for hops in range(1, HOPS_MAX + 1):
        left = [each for each in trials if not any(other.reported for other in _together(each, trials))]
        for tries in range(1, TRIES + 1):
            start = time.monotonic()
            _once(left, hops, own, repeat=tries % 2 == 0)
            through = _vpn_hops(trials)
            left = [each for each in left if not each.finished(tries, _together(each, trials), through)]
            if not left:
                break
            time.sleep(max(0.0, start + PERIOD - time.monotonic()))


def _once(trials: Sequence[_Trial], hops: int, own: frozenset[Address], *, repeat: bool) -> None:
    """Send the messages, and then controls: with `repeat` also those that were reported before.

    For the first two by each interface, its router needs two reports at once. So if it reports both, it had one to
    spare half a second before, and would have reported a message.
    """
    for trial in trials:
        trial.renew()
    probe.send([each for trial in trials for each in trial.stun if not each.seen_by], hops, SECONDS, own)
    groups = [group for trial in trials if (group := _together(trial, trials))[0] is trial]
    pairs = [_pair(group, repeat=repeat) for group in groups if not group[0].way.into_vpn]
    first = [each for _, pair in pairs for each in pair]
    probe.send(
        [
            *first,
            *(each.control for each in trials if not each.control.seen_by and each.control not in first),
        ],
        hops,
        SECONDS,
        own,
    )
    for group, pair in pairs:
        if all(each.seen_by for each in pair) and not any(each.seen for each in group):
            for trial in group:
                trial.proven += 1


def _pair(group: list[_Trial], *, repeat: bool) -> tuple[list[_Trial], list[Probe]]:
    """Return the group, and two of its controls; rather those that are still to be reported, unless with `repeat`."""
    wanted = [each.control for each in group if not each.control.seen_by]
    reported = [each.control.again() for each in group if each.control.seen_by]
    if not reported or (len(wanted) > 1 and not repeat):
        return group, [*wanted, wanted[0].again()][:2]
    return group, [*([] if repeat else wanted), reported[0], reported[0].again()][:2]


def _vpn_hops(trials: Iterable[_Trial]) -> frozenset[Address]:
    """Return the routers that have reported packets that went into the VPN."""
    through = (each for trial in trials if trial.way.into_vpn for each in (*trial.stun, trial.control))
    return frozenset(each.seen_by for each in through if each.seen_by is not None)


def _together(trial: _Trial, trials: Iterable[_Trial]) -> list[_Trial]:
    """Return the trials whose packets leave by the same interfaces over the same IP version."""
    way = trial.way
    return [
        each
        for each in trials
        if (each.way.interfaces, each.way.packet.version) == (way.interfaces, way.packet.version)
    ]
