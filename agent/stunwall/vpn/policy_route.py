"""The policy route of redirected packets: a routing rule by mark, a routing table of our own, a sysctl (rtnetlink)."""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from stunwall.model import FAMILIES, REDIRECT_TABLE, StunwallError

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
    """

    def __init__(self, mark: int, mask: int, versions: frozenset[int], report: Callable[[str], None]) -> None:
        self._mark = mark
        self._mask = mask
        self._versions = versions
        self._report = report
        # Strict: the kernel sends the routes of our table alone, not all for pyroute2 to choose.
        self._netlink = IPRoute(strict_check=True)
        self._targets: dict[int, int | None] = {}
        self._sysctls: list[Path] = []

    def point(self, version: int, index: int | None) -> None:
        """Route marked packets of an IP version (4 or 6) to the link with this index, None for nowhere.

        Raises PolicyRouteError.
        """
        if version not in self._versions:
            return
        family = FAMILIES[version]
        try:
            if self._targets.get(version, 0) == index and (index is None or self._is_set(family, index)):
                return
            self._targets.pop(version, None)
            if index is None:
                self._netlink.flush_routes(family=family, table=REDIRECT_TABLE)
            else:
                self._add_rule(family)
                self._netlink.route("replace", family=family, dst="default", oif=index, table=REDIRECT_TABLE)
                if version == 4:
                    self._allow_replies(socket.if_indextoname(index))
        except (NetlinkError, OSError) as error:
            raise PolicyRouteError(f"cannot set the route for redirected packets: {error}") from error
        self._targets[version] = index

    def close(self) -> None:
        """Remove everything, and close the socket."""
        self.remove()
        self._netlink.close()

    def remove(self) -> None:
        """Remove the rules and routes, and put back the sysctls."""
        for version in self._versions:
            family = FAMILIES[version]
            with suppress(NetlinkError, OSError):
                self._netlink.flush_routes(family=family, table=REDIRECT_TABLE)
            with suppress(NetlinkError, OSError):
                self._remove_rules(family)
        for sysctl in self._sysctls:
            with suppress(OSError):  # gone with its interface
                sysctl.write_text("0")
                self._report(f"set {_name(sysctl)} back to 0")
        self._sysctls.clear()
        self._targets.clear()

    def _is_set(self, family: int, index: int) -> bool:
        """Whether rule and route are still there: a link that goes down for a moment loses its routes."""
        routes = self._netlink.get_routes(family=family, table=REDIRECT_TABLE)
        wanted = self._priority(family)
        rules = [_priority_of(rule) for rule in self._rules(family)]
        return any(route.get("oif") == index for route in routes) and rules == [wanted]

    def _priority(self, family: int) -> int:
        """Return the priority that puts the rule before all others."""
        others = (
            _priority_of(rule)
            for rule in self._netlink.get_rules(family=family)
            if rule.get("table") not in (_LOCAL, REDIRECT_TABLE)
        )
        return max(0, min((PRIORITY, *(priority - 1 for priority in others))))

    def _rules(self, family: int) -> list[Any]:
        """Return our own, and those of a killed daemon, which may have another mark."""
        found = self._netlink.get_rules(family=family, table=REDIRECT_TABLE)
        return [rule for rule in found if rule.get("fwmark")]

    def _remove_rules(self, family: int) -> None:
        for rule in self._rules(family):
            named = {key: rule.get(key) for key in ("fwmark", "fwmask")}
            self._netlink.rule(
                "del", family=family, table=REDIRECT_TABLE, priority=_priority_of(rule), **named
            )

    def _add_rule(self, family: int) -> None:
        self._remove_rules(family)
        self._netlink.rule(
            "add",
            family=family,
            table=REDIRECT_TABLE,
            priority=self._priority(family),
            fwmark=self._mark,
            fwmask=self._mask,
        )

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


def _priority_of(rule: Any) -> int:  # noqa: ANN401 - pyroute2 is not typed
    return int(rule.get("priority") or 0)  # the kernel leaves out a 0


def _read(interface: str, key: str) -> str:
    try:
        return (_SYSCTL / interface / key).read_text().strip()
    except OSError:
        return ""


def _name(sysctl: Path) -> str:
    return "net.ipv4.conf." + ".".join(sysctl.parts[-2:])
