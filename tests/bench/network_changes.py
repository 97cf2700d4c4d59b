"""What a change of the network costs stunwalld, by the size of the host, and when the wall is repaired."""

import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from bench.host import OUT, VPN, Asking, Daemon, Watch, come_first, cpu, host, memory, p99, wait_for_vpn
from bench.results import Budget, Growth, Result, Row
from stunwall.netlink import attribute
from stunwall.vpn.requests import Requests
from unit.tun import ip

GROUP = "Network changes"
SIZES = ((10, 1_000), (10, 10_000), (10, 100_000), (100, 1_000), (1_000, 1_000), (1_000, 100_000))
LARGEST = SIZES[-1]
CHANGES, VERDICTS, PACE = 10, 40, 0.1  # of each kind in a round; seconds from one to the next
ROUNDS = 3
REPAIRS = 5
# linux/rtnetlink.h and if.h: RTM_NEWLINK, RTM_NEWROUTE, RTM_DELROUTE, IFF_UP; linux/netlink.h: NLM_F_CREATE
NEWLINK, NEWROUTE, DELROUTE, UP, CREATE = 16, 24, 25, 1, 0x400
DST, OIF = 1, 4  # RTA_*
KERNELS = "the kernel takes a link down"  # it waits until no packet is on its way there
IN_TIME, SERVED = Budget(5), Budget(10)


@dataclass(slots=True)
class Measured:
    """Milliseconds, of each round or change; and the memory in the end."""

    cpu: dict[str, list[float]] = field(default_factory=dict)
    answers: dict[str, list[float]] = field(default_factory=dict)
    until_set: dict[str, list[float]] = field(default_factory=dict)
    repaired: list[float] = field(default_factory=list)
    mebibytes: float = 0.0


def change_route(number: int) -> None:
    verb = "replace" if number % 2 == 0 else "del"
    ip("route", verb, "198.51.100.0/24", "via", "192.0.2.1", "dev", OUT)


def change_link(number: int) -> None:
    if number % 2 == 0:
        ip("link", "add", "bx0", "up", "type", "veth", "peer", "name", "bx1")
    else:
        ip("link", "del", "bx0")


REST = "at rest"
KINDS: dict[str, Callable[[int], None]] = {
    "a route comes or goes": change_route,
    "a link comes or goes": change_link,
}


def burden(pid: int, changes: int, into: Measured) -> None:
    """A round: so many changes of each kind, and nothing else to do."""
    for kind, change in KINDS.items():
        before = cpu(pid)
        make(change, changes)
        into.cpu.setdefault(kind, []).append((cpu(pid) - before) / changes)


def make(change: Callable[[int], None], changes: int) -> None:
    """So many changes, at the pace."""
    start = time.monotonic()
    for number in range(changes):
        change(number)
        time.sleep(max(0.0, start + (number + 1) * PACE - time.monotonic()))


def verdicts(changes: int, into: Measured) -> None:
    """Another program's answers at rest, and meanwhile."""
    with Asking() as asking:
        for kind, change in ((REST, lambda _: None), *KINDS.items()):
            asking.take()
            make(change, changes)
            into.answers[kind] = asking.take()


def half_of_the_default_route(verb: int) -> tuple[int, bytes, int]:
    """The message that adds or deletes the VPN's route to 128.0.0.0/1: it counts as the VPN only with both halves."""
    # struct rtmsg: family, length, -, -, table main, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 1, 0, 0, 254, 3, 253, 1, 0)
    index = socket.if_nametoindex(VPN)
    body = header + attribute(DST, bytes((128, 0, 0, 0))) + attribute(OIF, struct.pack("=I", index))
    return verb, body, CREATE if verb == NEWROUTE else 0


def link_down() -> tuple[int, bytes, int]:
    """The message that takes the VPN's link down."""
    return NEWLINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(VPN), 0, UP), 0


def until_set(into: Measured, changes: int) -> None:
    """The time from a change that makes the VPN's interface one, or none, until the wall's set says so."""

    def timed(what: str, message: tuple[int, bytes, int], then: int) -> None:
        time.sleep(PACE)
        watch.drain()
        start = time.perf_counter()
        requests.ask(*message)
        if message[0] == NEWLINK:
            done = time.perf_counter()
            into.until_set.setdefault(KERNELS, []).append((done - start) * 1e3)
            start = done
        into.until_set.setdefault(what, []).append((watch.wait(then, "vpn") - start) * 1e3)

    with Watch() as watch, closing(Requests()) as requests:
        for _ in range(changes):
            timed(
                "a route goes: the VPN leaves the set", half_of_the_default_route(DELROUTE), Watch.DELSETELEM
            )
            timed(
                "a route comes: the VPN is in the set", half_of_the_default_route(NEWROUTE), Watch.NEWSETELEM
            )
            timed("a link is down: the VPN leaves the set", link_down(), Watch.DELSETELEM)
            ip("link", "set", VPN, "up")
            for half in ("0.0.0.0/1", "128.0.0.0/1"):
                ip("route", "add", half, "dev", VPN)
            wait_for_vpn()


def repair(into: Measured, times: int) -> None:
    """The time from `nft flush ruleset` of another program until STUN is handed to stunwalld again."""
    with Watch() as watch:
        for _ in range(times):
            time.sleep(PACE)
            watch.drain()
            subprocess.run(["nft", "flush", "ruleset"], check=True)
            flushed = watch.wait(Watch.DELTABLE)
            into.repaired.append((watch.wait(Watch.NEWRULE, "to_stunwalld") - flushed) * 1e3)


def measured(links: int, routes: int, quick: bool) -> Measured:
    found = Measured()
    with host(links, routes), Daemon() as daemon:
        wait_for_vpn()
        for _ in range(1 if quick else ROUNDS):
            burden(daemon.pid, 2 if quick else CHANGES, found)
        verdicts(2 if quick else VERDICTS, found)
        until_set(found, 1 if quick else CHANGES)
        repair(found, 1 if quick else REPAIRS)
        found.mebibytes = memory(daemon.pid)["Rss"]
    return found


def rows(size: tuple[int, int], found: Measured) -> Iterator[Row]:
    peer = f"{size[0]:,} links, {size[1]:,} routes"
    largest = size == LARGEST
    for kind, spent in found.cpu.items():
        yield Row(GROUP, f"CPU of a change: {kind}", peer, "ms", tuple(spent))
    for kind, took in found.until_set.items():
        yield Row(GROUP, kind, peer, "ms", tuple(took), (IN_TIME,) if largest and kind != KERNELS else ())
    for kind, answers in found.answers.items():
        budget = (SERVED,) if largest and kind != REST else ()
        yield Row(GROUP, f"p99 of another program's answers: {kind}", peer, "ms", (p99(answers),), budget)
        yield Row(GROUP, f"slowest of them: {kind}", peer, "ms", (max(answers),))
    yield Row(GROUP, "all rules are flushed: repaired after", peer, "ms", tuple(found.repaired))
    yield Row(GROUP, "memory afterwards (RSS)", peer, "MiB", (found.mebibytes,))


def measure(quick: bool) -> Iterator[Result]:
    """Rows for each size, and how the CPU of a change grows with links and with routes."""
    come_first()
    spent: dict[tuple[int, int], Measured] = {}
    for links, routes in ((10, 100),) if quick else SIZES:
        spent[links, routes] = measured(links, routes, quick)
        yield from rows((links, routes), spent[links, routes])
    for against, fixed in (("links", 1_000), ("routes", 10)):
        for kind in KINDS:
            points = tuple(
                (size[0] if against == "links" else size[1], tuple(found.cpu[kind]))
                for size, found in spent.items()
                if fixed == (size[1] if against == "links" else size[0])
            )
            yield Growth(GROUP, "CPU of a change", against, kind, "ms", points)
