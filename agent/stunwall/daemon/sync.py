"""Keeps the wall's sets and the policy route in step with the network and the configuration."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from stunwall.config import BoundTcp, Config, Mode, WhenVpnDown
from stunwall.model import FAMILIES, Address, StunwallError
from stunwall.policy import View
from stunwall.vpn import inside, interfaces
from stunwall.vpn.endpoints import EndpointWatch
from stunwall.vpn.interfaces import Assessment, Snapshot
from stunwall.vpn.link_names import LinkNames
from stunwall.vpn.policy_route import PolicyRoute
from stunwall.vpn.rtnetlink import Rtnetlink
from stunwall.wall import table, units
from stunwall.wall.cgroup_names import of_system
from stunwall.wall.contents import Addition, Contents, elements
from stunwall.wall.egress import Egress
from stunwall.wall.nft import Nft, NftError
from stunwall.wall.second_lock import SecondLock

# Seconds from one change of the wall to the next. A VPN that comes up is some twenty changes in as many milliseconds.
# The first acts at once, and so does what takes a VPN away. No call waits for the others: STUN is sent again after 500
# ms (RFC 8489 §6.2.1).
_PAUSE = 0.05
# Nothing is known of the network, so everything is blocked.
_UNKNOWN = View(frozenset(), frozenset(), known=False)


class NetworkSync:
    """Knows which interfaces are the VPN; at every change of the network it fills the wall's sets again.

    Args:
        nft: loads and fills the wall.
        second_lock: is brought in step with the network, too.
        versions: the IP versions (4, 6) that the system has.
        exceptions_changed: is called when the rules of the exceptions have been replaced.
        renew: is called when the wall has to be made anew, since it needs other files of rules. It calls put_up_wall().
        report: is called when the VPN changes.
        problem: is called when the network can't be followed, and with "" when it can again. What was the VPN may be
            something else by then, so everything is blocked until it works.
    """

    def __init__(
        self,
        config: Config,
        nft: Nft,
        second_lock: SecondLock,
        versions: frozenset[int],
        report: Callable[[str], None],
        problem: Callable[[str], None],
        exceptions_changed: Callable[[], None],
        renew: Callable[[], None],
    ) -> None:
        self.view = _UNKNOWN
        self.names = LinkNames()
        """Of the snapshot that `view` was made of."""
        self._snapshot = Snapshot((), (), {})
        self._assessments: tuple[Assessment, ...] | None = None  # of the snapshot
        self._config = config
        self._nft = nft
        self._second_lock = second_lock
        self._exceptions_changed = exceptions_changed
        self._renew = renew
        self.additions: frozenset[Addition] = frozenset()
        """The files that the wall was made of besides stunwall.nft."""
        self._report = report
        self._problem = problem
        self._filled: Contents | None = None  # what the wall holds, None if that is not known
        self._sealed = False  # as the network could not be read, or the wall not filled
        self._refused = ""  # why no exception is in force, where the kernel took none
        self._behind = frozenset[str]()  # what is inside, as far as is known
        self._followed = 0.0  # when, in seconds of the monotonic clock
        self._rtnetlink = Rtnetlink(versions, config.interfaces, lan=config.allow_lan)
        self._units = units.UnitWatch()
        self._endpoints = EndpointWatch()
        redirects = config.mode is Mode.REDIRECT
        self._policy_route = PolicyRoute(config.redirected_bit, config.mark_mask, versions, report, redirects)

    def close(self) -> None:
        """Remove the policy route, and stop following."""
        self._policy_route.close()
        self._units.close()
        self._endpoints.close()
        self._rtnetlink.close()

    @property
    def failing(self) -> bool:
        """Whether the network could not be read, or one of the locks not filled."""
        return self._sealed or self._second_lock.failing

    @property
    def due(self) -> float | None:
        """When `follow` is to be called, in seconds of the monotonic clock, None as long as nothing changes."""
        network = self._rtnetlink.network
        if not network.changed:
            return None
        return 0.0 if network.urgent else self._followed + _PAUSE

    @property
    def network(self) -> Rtnetlink:
        """What becomes readable when `receive` is to be called."""
        return self._rtnetlink

    @property
    def programs(self) -> units.UnitWatch:
        """What becomes readable when `follow_programs` is to be called."""
        return self._units

    @property
    def endpoints(self) -> EndpointWatch:
        """What becomes readable when `follow_endpoints` is to be called."""
        return self._endpoints

    def receive(self) -> None:
        """Take what the kernel says of the network; `due` says when to follow it."""
        try:
            self._rtnetlink.receive()
        except StunwallError as error:
            self._seal(error)

    def put_up_wall(self) -> None:
        """Load the wall as the network is now, without its queue rules. Raises StunwallError."""
        if self._filled is None and not self.view.known:
            self._rtnetlink.read()
        contents, snapshot = self._look()
        contents = self._anew(contents)
        load = partial(table.load, self._nft, mask=self._config.mark_mask)
        try:
            contents = self._with_cgroups(contents, load)
        except NftError as error:
            if not contents.allow:
                raise
            self._config = replace(self._config, allow=())
            contents = load(replace(contents, allow=()))
            self._refused = f"no exception is in force: the kernel refuses [[allow]] ({error})"
            self._problem(self._refused)
        self._filled = contents
        self.additions = contents.additions
        self._second_lock.follow(self._egress(snapshot))
        self._point(snapshot)

    def follow(self) -> None:
        """Bring the wall in step with what has changed."""
        before = self.view.vpn
        try:
            self._rtnetlink.receive()
            contents, snapshot = self._look()
            if contents != self._filled:
                self._fill(contents, self._filled)
            self._second_lock.follow(self._egress(snapshot), self._rtnetlink.network.take_gone())
            self._point(snapshot)
        except StunwallError as error:
            self._seal(error)
            return
        finally:
            self._followed = time.monotonic()
        self._report_change(before)
        if self._rtnetlink.known:
            self._sealed = False
            self._problem(self._refused)

    def follow_programs(self) -> None:
        """Bring the exceptions by program in step with the cgroups."""
        self._units.drain()
        if self._filled is not None:
            self._refill(replace(self._filled, cgroups=self._units.find(self._filled.allow)))

    def follow_endpoints(self) -> None:
        """Bring the endpoints of the VPN's peers in step with what they have answered."""
        self._endpoints.drain()
        if self._filled is not None and not self._sealed:
            self._refill(replace(self._filled, transport=self._endpoints.known))

    def _refill(self, contents: Contents) -> None:
        """Fill the wall if it holds something else; where that is not known, follow() fills it when it can."""
        try:
            if contents != self._filled:
                self._fill(contents, self._filled)
        except StunwallError as error:
            self._seal(error)

    @property
    def assessments(self) -> tuple[Assessment, ...]:
        """Each interface, and what it is. Only users ask why, so this is not found out at every change."""
        if self._assessments is None:
            found = interfaces.assess(self._snapshot, self._config.interfaces)
            seen = self._rtnetlink.network.evidence
            self._assessments, _ = inside.assess(self._snapshot, found, self._named, seen)
        return self._assessments

    @property
    def addresses(self) -> list[Address]:
        """This machine's addresses."""
        return [each for some in self._snapshot.all_addresses.values() for each in some]

    @property
    def _named(self) -> inside.Named:
        return inside.Named(self._config.interfaces, self._config.inside)

    @property
    def ways(self) -> frozenset[tuple[str, int, frozenset[Address]]]:
        """The ways by which packets leave this machine: the name, index and addresses of each interface."""
        found = self._snapshot
        return frozenset(
            (link.name, link.index, frozenset(found.all_addresses.get(link.index, ())))
            for link in found.links
            if link.name != "lo" and link.name not in self._behind
        )

    @property
    def local_endpoints(self) -> list[tuple[str, int]]:
        """The VPN's endpoints that are on this machine, where a program relays them."""
        transport = self._filled.transport if self._filled is not None else ()
        return sorted((str(address), port) for address, port in transport if address.is_loopback)

    @property
    def cgroups(self) -> list[list[str] | None]:
        """The paths of each exception's cgroups, None if it is not by program."""
        filled = self._filled.cgroups if self._filled is not None else {}
        return [
            [path for path, _ in filled.get(rule, ())] if rule.by_program else None
            for rule in self._config.allow
        ]

    @property
    def filled(self) -> dict[str, list[str]] | None:
        """The elements of each set that were filled in, None if that is not known."""
        return None if self._filled is None else elements(self._filled)

    def configure(self, config: Config) -> None:
        """Use another configuration from now on. Raises StunwallError if the kernel refuses it: the old one holds."""
        before, refused = self._config, self._refused
        self._config, self._refused = config, ""
        self._rtnetlink.network.configure(config.interfaces, lan=config.allow_lan)
        vpn, loaded = self.view.vpn, self.additions
        try:
            contents, snapshot = self._look()
            if self._anew(contents).additions == loaded:
                self._fill(contents, None)
                self._second_lock.follow(self._egress(snapshot))
                self._point(snapshot)
            else:
                self._renew()
                if self._refused:
                    raise NftError(self._refused)
            if config.mode is not Mode.REDIRECT:
                self._policy_route.remove()
        except StunwallError:
            self._config, self._refused = before, refused
            self._rtnetlink.network.configure(before.interfaces, lan=before.allow_lan)
            if self.additions != loaded:
                with suppress(StunwallError):  # what the daemon notices of it, it tries again
                    self._renew()
            self.follow()
            raise
        self._report_change(vpn)

    def _seal(self, error: StunwallError) -> None:
        """No interface counts as the VPN any more, until the network can be followed again.

        The second lock stays as it is: what was a way out is locked.
        """
        self.view = _UNKNOWN
        self._sealed = True
        sealed = Contents(
            frozenset(),
            self._config.guard_ports,
            redirect=self._redirect,
            bound_tcp=Addition.BOUND_TCP in self.additions,
        )
        with suppress(StunwallError):
            self._fill(sealed, None)
        self._problem(f"{error}. Until that works again all STUN is blocked")

    def _fill(self, contents: Contents, before: Contents | None) -> None:
        """Fill the wall, which holds `before`, if that is known. Raises NftError."""
        self._filled = None  # not known until the transaction is through
        replaced = False

        def fill(some: Contents) -> Contents:
            nonlocal replaced
            replaced = table.fill(self._nft, some, self._config.mark_mask, before)
            return some

        self._filled = self._with_cgroups(contents, fill)
        if replaced:
            self._exceptions_changed()

    def _with_cgroups(self, contents: Contents, load: Callable[[Contents], Contents]) -> Contents:
        """Return what `load` returns. nft refuses the contents if a cgroup has ended meanwhile. Raises NftError.

        Users can make theirs come and go so fast that nft never finds them all: then it gets those of the system.
        """
        try:
            return load(contents)
        except NftError:
            if not contents.cgroups:
                raise
        found = self._units.find(contents.allow, again=True)
        steady = {rule: tuple(each for each in some if of_system(each[0])) for rule, some in found.items()}
        for cgroups in (found, steady):
            with suppress(NftError):
                return load(replace(contents, cgroups=cgroups))
        return load(replace(contents, cgroups={}))

    def _report_change(self, before: frozenset[str]) -> None:
        if self.view.vpn != before:
            self._report(f"VPN: {', '.join(sorted(self.view.vpn)) or 'none is up'}")

    def _look(self) -> tuple[Contents, Snapshot]:
        """Read the network into `view`; return what belongs in the wall. Raises StunwallError.

        While notifications have been lost, and not all is read again, nothing is opened: what was the VPN counts if its
        link is as before, and nothing is inside, as what shows that an interface leads out may have been lost.
        """
        config, known = self._config, self._rtnetlink.known
        snapshot = self._rtnetlink.snapshot()
        self._snapshot, self._assessments = snapshot, None
        vpn = interfaces.vpn_names(snapshot, config.interfaces)
        if known:
            seen = self._rtnetlink.network.evidence
            behind = self._behind = inside.inside_names(snapshot, vpn, self._named, seen)
        else:
            vpn, behind = vpn & self.view.vpn, frozenset[str]()
        self._rtnetlink.network.open = frozenset(
            link.index for link in snapshot.links if link.name in vpn or link.name in behind
        )
        families = frozenset(f for f in FAMILIES if self._target(snapshot, vpn, f) is not None)
        self.view = View(vpn, families, inside=behind, known=known)
        self.names.follow(snapshot.links)
        contents = Contents(
            vpn=vpn,
            inside=behind,
            guard_ports=config.guard_ports,
            families=families,
            addresses=interfaces.own_addresses(snapshot, vpn),
            transport=self._endpoints.ask(snapshot.links),
            lan=interfaces.on_link(snapshot) if config.allow_lan and known else frozenset(),
            allow=config.allow,
            cgroups=self._units.find(config.allow),
            redirect=self._redirect,
            vpn_down_allowed=config.when_vpn_down is WhenVpnDown.ALLOW,
            bound_tcp=config.bound_tcp is not BoundTcp.OFF,
        )
        return contents, snapshot

    def _anew(self, contents: Contents) -> Contents:
        """Return the contents for a wall that is made anew: it keeps redirect.nft only for flows that it remembers."""
        return replace(contents, redirect=self._config.mode is Mode.REDIRECT)

    @property
    def _redirect(self) -> bool:
        """Whether the wall holds back redirected flows: those of an earlier mode, too."""
        return self._config.mode is Mode.REDIRECT or Addition.REDIRECT in self.additions

    def _egress(self, snapshot: Snapshot) -> Egress:
        """Return what belongs in the second lock, after `_look`."""
        view, config = self.view, self._config
        through = view.vpn | self._behind
        names = {link.index: link.name for link in snapshot.links if link.name != "lo"}
        out = {index: name for index, name in names.items() if name not in through}
        carried = interfaces.lying_on(snapshot.links, out)
        return Egress(
            out=out,
            vpn={index: name for index, name in names.items() if name in view.vpn},
            carried={index: names[index] for index in carried & names.keys() - out.keys()},
            guard_ports=config.guard_ports,
            redirect=self._redirect,
            bridged=config.bridged,
        )

    def _target(self, snapshot: Snapshot, vpn: frozenset[str], family: int) -> int | None:
        if self._config.mode is not Mode.REDIRECT:
            return None
        return interfaces.redirect_target(snapshot, vpn, self._config.interfaces, family)

    def _point(self, snapshot: Snapshot) -> None:
        for family in FAMILIES:
            self._policy_route.point(family, self._target(snapshot, self.view.vpn, family))
