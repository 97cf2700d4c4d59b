"""The policy route of redirected packets: a routing rule by mark, a routing table of our own, a sysctl (rtnetlink)."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT
from pathlib import Path
from typing import TYPE_CHECKING

from stunwall.model import FAMILIES, REDIRECT_TABLE, StunwallError
from stunwall.netlink import Message
from stunwall.vpn import fib, messages
from stunwall.vpn.fib import Rule
from stunwall.vpn.messages import Read
from stunwall.vpn.requests import Requests, whole

if TYPE_CHECKING:
    from pyroute2 import IPRoute

# Before what VPN clients and proxies use (sing-box 9000, wg-quick 32764), after `local` (0). A rule that is added
# without a priority goes before the first one (net/core/fib_rules.c, fib_default_rule_pref); ours then moves.
PRIORITY = 50
_LOCAL = 255  # linux/rtnetlink.h: RT_TABLE_LOCAL
_SYSCTL = Path("/proc/sys/net/ipv4/conf")
_STRICT = "1"  # ip-sysctl: rp_filter


class PolicyRouteError(StunwallError):
    """The routing rule or the route could not be set."""


class PolicyRoute:
    """Routes packets with a mark where `point` says, by IP version; `remove` leaves nothing behind.

    Where the table is empty, a packet with the mark falls through to the other rules; the wall then blocks it.

    Args:
        mark: the bit that redirected packets have.
        mask: both of stunwall's bits. stunwalld's refusals have both, and must not take this route.
        versions: the IP versions (4, 6) that the system has.
        report: is called when a sysctl is changed or put back.
        soon: whether there will be something to change soon. What that takes is then loaded now, which lasts 0.25 s.
    """

    def __init__(
        self,
        mark: int,
        mask: int,
        versions: frozenset[int],
        report: Callable[[str], None],
        soon: bool = False,
    ) -> None:
        self._mark = mark
        self._mask = mask
        self._versions = versions
        self._report = report
        self._netlink = Requests()
        self._iproute: IPRoute | None = None
        self._targets: dict[int, int | None] = {}
        self._sysctls: list[Path] = []
        if soon:
            self._load()

    def point(self, version: int, index: int | None) -> None:
        """Route marked packets of an IP version (4 or 6) to the link with this index, None for nowhere.

        Raises PolicyRouteError.
        """
        if version not in self._versions:
            return
        try:
            if self._targets.get(version, 0) == index and (index is None or self._is_set(version, index)):
                return
            self._targets.pop(version, None)
            if index is None:
                self._remove_routes(version)
            else:
                self._add_rule(version)
                with self._changing() as kernel:
                    kernel.route("replace", dst="default", oif=index, **_ours_of(version))
                if version == 4:
                    self._allow_replies(socket.if_indextoname(index))
        except OSError as error:
            raise PolicyRouteError(f"cannot set the route for redirected packets: {error}") from error
        self._targets[version] = index

    def close(self) -> None:
        """Remove everything, and close the sockets."""
        self.remove()
        self._netlink.close()
        if self._iproute is not None:
            self._iproute.close()

    def remove(self) -> None:
        """Remove the rules and routes, and put back the sysctls."""
        for version in self._versions:
            with suppress(OSError):
                self._remove_routes(version)
            with suppress(OSError):
                self._remove_rules(version)
        for sysctl in self._sysctls:
            with suppress(OSError):  # gone with its interface
                sysctl.write_text("0")
                self._report(f"set {_name(sysctl)} back to 0")
        self._sysctls.clear()
        self._targets.clear()

    def _is_set(self, version: int, index: int) -> bool:
        """Whether rule and route are still there: a link that goes down for a moment loses its routes."""
        routes = filter(None, map(messages.route, self._routes(version)))
        rules = self._rules(version)
        there = any((index, b"") in route.nexthops for route in routes)
        return there and [rule.priority for rule in _ours(rules)] == [_before(rules)]

    def _rules(self, version: int) -> list[Rule]:
        wanted = Read(messages.GETRULE, version)
        return self._netlink.dump(wanted.kind, messages.request(wanted), fib.rule)

    def _remove_rules(self, version: int) -> None:
        for rule in _ours(self._rules(version)):
            self._change_rule("del", version, rule.priority, rule.mark, rule.mask)

    def _add_rule(self, version: int) -> None:
        self._remove_rules(version)
        priority = _before(self._rules(version))
        self._change_rule("add", version, priority, self._mark, self._mask)

    def _change_rule(self, verb: str, version: int, priority: int, mark: int, mask: int) -> None:
        with self._changing() as kernel:
            kernel.rule(verb, priority=priority, fwmark=mark, fwmask=mask, **_ours_of(version))

    def _routes(self, version: int) -> list[Message]:
        try:
            return self._netlink.dump(messages.GETROUTE, messages.routes_of(version, REDIRECT_TABLE), whole)
        except OSError as error:
            if error.errno != ENOENT:  # there is no such table
                raise
            return []

    def _remove_routes(self, version: int) -> None:
        if self._routes(version):
            with self._changing() as kernel:
                kernel.flush_routes(**_ours_of(version))

    def _load(self) -> "IPRoute":
        """Return what changes rules and routes. It takes 12 MiB, so it is loaded only where packets are redirected."""
        if self._iproute is None:
            from pyroute2 import IPRoute

            # Strict: the kernel sends the routes of our table alone, not all for pyroute2 to choose.
            self._iproute = IPRoute(strict_check=True)
        return self._iproute

    @contextmanager
    def _changing(self) -> "Iterator[IPRoute]":
        """Give what changes rules and routes; what pyroute2 raises becomes OSError."""
        kernel = self._load()
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            yield kernel
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error

    def _allow_replies(self, name: str) -> None:
        """Where the reverse path is checked strictly, make the check use the mark of the replies (ip-sysctl)."""
        strict = max(_read("all", "rp_filter"), _read(name, "rp_filter")) == _STRICT  # the larger counts
        uses_mark = "1" in (_read("all", "src_valid_mark"), _read(name, "src_valid_mark"))
        if not strict or uses_mark:
            return
        sysctl = _SYSCTL / name / "src_valid_mark"
        sysctl.write_text("1")
        if sysctl not in self._sysctls:  # else its interface was made again
            self._sysctls.append(sysctl)
        self._report(
            f"set {_name(sysctl)} to 1, as rp_filter is strict there; it is set back when stunwalld stops"
        )


def _ours_of(version: int) -> dict[str, int]:
    return {"family": FAMILIES[version], "table": REDIRECT_TABLE}


def _ours(rules: list[Rule]) -> list[Rule]:
    """Return our own, and those of a killed daemon, which may have another mark."""
    return [rule for rule in rules if rule.table == REDIRECT_TABLE and rule.mark]


def _before(rules: list[Rule]) -> int:
    """Return the priority that puts our rule before all others."""
    others = (rule.priority - 1 for rule in rules if rule.table not in (_LOCAL, REDIRECT_TABLE))
    return max(0, min((PRIORITY, *others)))


def _read(interface: str, key: str) -> str:
    try:
        return (_SYSCTL / interface / key).read_text().strip()
    except OSError:
        return ""


def _name(sysctl: Path) -> str:
    return "net.ipv4.conf." + ".".join(sysctl.parts[-2:])
