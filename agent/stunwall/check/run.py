"""Tries each way on the wire: a message that asks for the own address, and beside it a packet that does not."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stunwall.check import messages, probe
from stunwall.check.messages import Variant
from stunwall.check.probe import Probe
from stunwall.check.verdict import Result, Verdict, judge
from stunwall.check.ways import DESTINATIONS, Way, ways
from stunwall.model import Address, Transport
from stunwall.vpn import ip_versions, routing
from stunwall.vpn.explain import Routing, destinations
from stunwall.vpn.inside import Named

HOPS_MAX = 3  # routers: the next one, then the second and the third if it reports nothing
# For the report of a router, or the verdict of a daemon that is busy. After 1 s (TCP_TIMEOUT_INIT in include/net/tcp.h)
# a connection that got no answer begins anew without the payload: what is reported then is no STUN.
SECONDS = 0.9
# A router may report 6 packets at once, then one a second (icmp_ratelimit in icmp(7); XRLIM_BURST_FACTOR).
REST = 0.3
TRIES = 5
CONFIRMED = 3  # tries in which nothing was seen of STUN, as packets and reports can be lost


@dataclass(slots=True)
class _Trial:
    """A way with a transport protocol, and the packets of its last try: messages, and a control that is no STUN."""

    way: Way
    transport: Transport
    stun: list[Probe]
    control: Probe

    @property
    def reported(self) -> bool:
        """Whether a router has reported a packet."""
        return any(each.seen_by for each in (*self.stun, self.control))

    @property
    def leaks(self) -> bool:
        """Whether a message has left outside the VPN, or was moved into it."""
        return not self.way.into_vpn and any(each.seen_by for each in self.stun)

    def finished(self, tries: int, others: Sequence["_Trial"], vpn_hops: frozenset[Address]) -> bool:
        """Whether another try would show nothing more. `others`: those that leave as this one does, with itself."""
        if self.way.into_vpn and self.reported:
            return all(each.seen_by for each in self.stun) or tries >= CONFIRMED
        if not any(each.reported for each in others):
            return True
        if self.leaks:
            # Seen by a router of the VPN: the control shows whether it was only moved there.
            moved = any(each.seen_by in vpn_hops for each in self.stun)
            return not moved or self.control.seen_by is not None or tries >= CONFIRMED
        if not self.reported and tries >= CONFIRMED:
            return True  # the next router may do: no report finds its way to the VPN's address from here
        if not self.control.seen_by:
            return False  # perhaps the router has had enough
        if all(each.refused for each in self.stun):
            return True
        # Reports of others may have kept the router from reporting this one.
        return tries >= CONFIRMED and not any(each.leaks for each in others)

    def repeat(self) -> None:
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


def examine(found: Iterable[Way], own: frozenset[Address], variants: Sequence[Variant]) -> list[Result]:
    """Try each way that leaves the machine, and return what that shows, in the order of the ways.

    `own`: the machine's addresses. It takes at most some 2 * HOPS_MAX * TRIES seconds.
    """
    root = os.geteuid() == 0
    trials: list[_Trial] = []
    results: list[Result] = []
    in_vpn: set[tuple[int, tuple[str, ...]]] = set()  # IP version and interfaces
    for way in found:
        entrance = way.packet.version, way.interfaces
        if not way.leaves:
            why = way.explanation.cause.sentence
        elif way.into_vpn and entrance in in_vpn:
            why = "it enters the VPN as another way does that is tried"
        elif way.needs_root and not root:
            why = "only root can send with a mark: use sudo"
        else:
            trials += [_trial(way, transport, variants) for transport in Transport]
            if way.into_vpn:
                in_vpn.add(entrance)
            continue
        results += [Result(way, transport, Verdict.NOT_SENT, why) for transport in Transport]
    _try(trials, own)
    hops = _vpn_hops(trials)
    for trial in trials:
        results.append(Result(trial.way, trial.transport, *judge(trial.stun, trial.control, hops)))
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
        left = [each for each in trials if not each.reported]
        if not left:
            return
        for tries in range(1, TRIES + 1):
            for trial in left:
                trial.repeat()
            # The controls wait for the messages, which the daemon may hold for a while: where one is reported,
            # the messages would have been, too.
            for packets in (
                [each for trial in left for each in trial.stun],
                [trial.control for trial in left],
            ):
                if wanted := [each for each in packets if not each.seen_by]:
                    probe.send(wanted, hops, SECONDS, own)
            through = _vpn_hops(trials)
            left = [each for each in left if not each.finished(tries, _together(each, trials), through)]
            if not left:
                break
            time.sleep(REST)


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
