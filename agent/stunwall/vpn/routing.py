"""Reads the routing of this machine once, for a question about some packets (rtnetlink(7)). Any user may."""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TypeVar

from stunwall.model import Address, StunwallError
from stunwall.netlink import Message
from stunwall.vpn import fib, ip_versions, messages
from stunwall.vpn.explain import Routing
from stunwall.vpn.fib import Route, Rule
from stunwall.vpn.messages import Read
from stunwall.vpn.network import Network
from stunwall.vpn.requests import Requests, whole
from stunwall.vpn.walk import Fib

T = TypeVar("T")


class RoutingError(StunwallError):
    """The kernel's links, rules or routes could not be read."""


def read(destinations: Collection[Address], named: tuple[str, ...] = ()) -> Routing:
    """Return the routing now.

    Args:
        destinations: those of the packets that are asked about, of one IP version.
        named: the names and globs of the VPN's interfaces in the configuration.

    Raises RoutingError.
    """
    with _asking() as asking:
        return _read(asking, destinations, named)


def read_fib(destinations: Collection[Address]) -> Fib:
    """Return the rules and routes now, as `read` does, without what shows which interfaces are the VPN.

    It takes a small part of the time, and gives other threads theirs after each few hundred routes.

    Raises RoutingError.
    """
    (version,) = {each.version for each in destinations}
    wanted = fib.leading_to(destinations)
    with _asking() as asking:
        links = _dump(asking, Read(messages.GETLINK), messages.link)
        rules = _dump(asking, Read(messages.GETRULE, version), fib.rule)
        routes = _dump(asking, Read(messages.GETROUTE, version), partial(fib.route, wanted=wanted))
    ours = tuple(rule for rule in rules if rule.version == version)
    return Fib(ours, tuple(routes), {link.index: link for link, _ in links})


@contextmanager
def _asking() -> Iterator[Requests]:
    try:
        with closing(Requests()) as asking:
            yield asking
    except OSError as error:
        raise RoutingError(f"cannot read interfaces and routes from the kernel: {error}") from error


def _read(asking: Requests, destinations: Collection[Address], named: tuple[str, ...]) -> Routing:
    versions = ip_versions.available()
    network = Network(versions, named)
    wanted = fib.leading_to(destinations)
    network.replace_links(_dump(asking, Read(messages.GETLINK), whole))
    rules: list[Rule] = []
    routes: list[Route] = []
    for version in sorted(versions):
        addresses = Read(messages.GETADDR, version)
        network.replace_addresses(addresses, _dump(asking, addresses, whole))
        said = _dump(asking, Read(messages.GETRULE, version), whole)
        network.replace_rules(version, said)
        rules += filter(None, map(fib.rule, said))
        every = Read(messages.GETROUTE, version)
        into = network.fresh_routes(every)
        for message in _dump(asking, every, whole):
            network.take_route(message, into)
            if (found := fib.route(message, wanted)) is not None:
                routes.append(found)
        network.replace_routes(into)
    snapshot = network.snapshot({})
    asked = {each.version for each in destinations}
    links = {link.index: link for link in snapshot.links}
    ours = Fib(tuple(rule for rule in rules if rule.version in asked), tuple(routes), links)
    return Routing(snapshot, network.evidence, ours)


def _dump(asking: Requests, wanted: Read, take: Callable[[Message], T | None]) -> list[T]:
    return asking.dump(wanted.kind, messages.request(wanted), take)
