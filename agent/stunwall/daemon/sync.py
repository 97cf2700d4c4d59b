"""The network as it is now, and the wall and the detour kept in step with it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from stunwall.config import Config, Mode
from stunwall.model import StunwallError
from stunwall.vpn import interfaces, wireguard
from stunwall.vpn.interfaces import Snapshot, Standing
from stunwall.vpn.policy_route import Detour
from stunwall.vpn.rtnetlink import Links
from stunwall.wall import firewall, units
from stunwall.wall.firewall import Contents, FirewallError


class Network:
    """Knows which interfaces are the VPN; at every change of links it fills the wall's sets anew.

    `tell(text)` is called when the VPN changes, `problem(text)` when the network can't be followed, "" when
    it can again. What was the VPN may be something else by then, so all is sealed until it works.
    """

    def __init__(self, settings: Config, tell: Callable[[str], None], problem: Callable[[str], None]) -> None:
        self.standings: tuple[Standing, ...] = ()
        self.vpn: frozenset[str] = frozenset()
        self.families: frozenset[int] = frozenset()
        self.troubled = False
        self._config = settings
        self._tell = tell
        self._problem = problem
        self._filled: Contents | None = None  # what the wall holds, None if that is not known
        self._refused = ""  # why no exception is in force, where the kernel took none
        self._links = Links()
        self._cgroups = units.Watch()
        mask = settings.mark_mask
        self._detour = Detour(firewall.mark_bits(mask)[0], mask, tell)

    def close(self) -> None:
        """Remove the detour, and stop following."""
        self._detour.close()
        self._cgroups.close()
        self._links.close()

    def sources(self) -> tuple[Links, units.Watch]:
        """Return what becomes readable when `follow` is to be called."""
        return self._links, self._cgroups

    def put_up_the_wall(self) -> None:
        """Load the wall as the network is now, its door shut. Raises StunwallError."""
        contents, snapshot = self._look()
        try:
            firewall.load(contents, self._config.mark_mask)
        except FirewallError as error:
            if not contents.allow:
                raise
            self._config = replace(self._config, allow=())
            contents = replace(contents, allow=())
            firewall.load(contents, self._config.mark_mask)
            self._refused = f"no exception is in force: the kernel refuses [[allow]] ({error})"
            self._problem(self._refused)
        self._filled = contents
        self._point(snapshot)

    def follow(self) -> None:
        """Bring the wall in step with what has changed."""
        try:
            self._links.drain()
            self._cgroups.drain()
            known = self.vpn
            contents, snapshot = self._look()
            if contents != self._filled:
                before, self._filled = self._filled, None  # not known until the transaction is through
                firewall.fill(contents, self._config.mark_mask, before)
                self._filled = contents
            self._point(snapshot)
            self._tell_of(known)
            self.troubled = False
            self._problem(self._refused)
        except StunwallError as error:
            self.troubled = True
            self.vpn, self.families = frozenset(), frozenset()
            sealed = Contents(frozenset(), self._config.guard_ports)
            with suppress(StunwallError):
                firewall.fill(sealed, self._config.mark_mask, None)
                self._filled = sealed
            self._problem(f"{error}. Until that works again all STUN is blocked")

    def refill(self) -> None:
        """Put back what the sets held, whatever they hold now. Raises FirewallError."""
        if self._filled is not None:
            firewall.fill(self._filled, self._config.mark_mask, self._filled)

    def configure(self, settings: Config) -> None:
        """Use another configuration from now on. Raises StunwallError if the kernel refuses it: the old one holds."""
        before, self._config = self._config, settings
        known = self.vpn
        try:
            contents, snapshot = self._look()
            firewall.fill(contents, settings.mark_mask, None)
            self._filled = contents
            if settings.mode is Mode.REDIRECT:
                self._point(snapshot)
            else:
                self._detour.remove()
            self._refused = ""
        except StunwallError:
            self._config = before
            self.follow()
            raise
        self._tell_of(known)

    def _tell_of(self, known: frozenset[str]) -> None:
        if self.vpn != known:
            self._tell(f"VPN: {', '.join(sorted(self.vpn)) or 'none is up'}")

    def _look(self) -> tuple[Contents, Snapshot]:
        named = self._config.interfaces
        snapshot = self._links.snapshot()
        self.standings = interfaces.standings(snapshot, named)
        self.vpn = interfaces.counting(self.standings)
        self.families = frozenset(f for f in (4, 6) if self._carrier(snapshot, f) is not None)
        contents = Contents(
            vpn=self.vpn,
            guard_ports=self._config.guard_ports,
            families=self.families,
            addresses=interfaces.own_addresses(snapshot, self.vpn) if self.families else frozenset(),
            transport=wireguard.endpoints(snapshot.links),
            lan=interfaces.on_link(snapshot) if self._config.allow_lan else frozenset(),
            allow=self._config.allow,
            cgroups=self._cgroups.find(rule.unit for rule in self._config.allow if rule.unit),
        )
        return contents, snapshot

    def _carrier(self, snapshot: Snapshot, family: int) -> int | None:
        if self._config.mode is not Mode.REDIRECT:
            return None
        return interfaces.carrier(snapshot, self.standings, self._config.interfaces, family)

    def _point(self, snapshot: Snapshot) -> None:
        for family in (4, 6):
            self._detour.point(family, self._carrier(snapshot, family))
