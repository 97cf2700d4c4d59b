"""VPN clients by the routing tables, rules and marks that they use, and what of their settings these come from. No I/O.

From their sources and manuals, or from what other projects say of them, looked up on 2026-11-25. NetworkManager
chooses a free number for mark and table (nm-settings, wireguard.ip4-auto-default-route), so that it cannot be told by
them.
"""

from dataclasses import dataclass

from stunwall.vpn.fib import Rule


@dataclass(frozen=True, slots=True)
class Client:
    """A VPN client.

    `marks` are those of the packets that it keeps out of the VPN: `marked` says which. `setting` is where its rules and
    routes come from.
    """

    name: str
    tables: range = range(0)
    priorities: range = range(0)
    marks: range = range(0)
    setting: str = ""
    marked: str = "its own packets"


_KNOWN = (
    # wireguard-tools, src/wg-quick/linux.bash, add_default: the first free table from 51820 on, also as the mark.
    Client(
        "wg-quick",
        tables=range(51820, 51830),
        marks=range(51820, 51830),
        setting="`Table` and `FwMark` in its configuration",
        marked="WireGuard's own packets",
    ),
    # mullvadvpn-app, mullvad-types/src/lib.rs: TUNNEL_TABLE_ID, TUNNEL_FWMARK
    Client(
        "Mullvad",
        tables=range(0x6D6F6C65, 0x6D6F6C66),
        marks=range(0x6D6F6C65, 0x6D6F6C66),
        setting="split tunnelling",
        marked="its own packets, and the programs that split tunnelling excludes (`mullvad-exclude`)",
    ),
    # tailscale, wgengine/router/router_linux.go: ipPolicyPrefBase, tailscaleRouteTable, and linuxfw's bypass mark
    Client(
        "Tailscale",
        tables=range(52, 53),
        priorities=range(5210, 5271),
        marks=range(0x80000, 0x80001),
        setting="its subnet routes and its exit node",
    ),
    # netbird, client/internal/routemanager/systemops_linux.go: NetbirdVPNTableID; client/net: NetbirdFwmark
    Client(
        "NetBird",
        tables=range(0x1BD0, 0x1BD1),
        marks=range(0x1BD00, 0x1BD01),
        setting="`NB_DISABLE_CUSTOM_ROUTING` in its environment",
    ),
    # https://sing-box.sagernet.org/configuration/inbound/tun/: iproute2_table_index, iproute2_rule_index,
    # auto_redirect_output_mark
    Client(
        "sing-box (also in v2rayN and others)",
        tables=range(2022, 2023),
        priorities=range(9000, 9011),
        marks=range(0x2024, 0x2025),
        setting="`route_exclude_address`, `exclude_interface`, `exclude_uid` and `strict_route` of its inbound `tun`",
    ),
    # strongswan.conf(5): charon.routing_table, charon.routing_table_prio
    Client(
        "strongSwan",
        tables=range(220, 221),
        priorities=range(220, 221),
        setting="`charon.install_routes` and `charon.routing_table` in strongswan.conf",
    ),
)


def of_rule(rule: Rule) -> Client | None:
    """Return the client that a rule is of, None if it is of none that is known."""
    found = (each for each in _KNOWN if rule.table in each.tables or rule.priority in each.priorities)
    return next(found, of_mark(rule.mark))


def of_mark(mark: int) -> Client | None:
    """Return the client that marks packets so, None if none is known to."""
    return next((each for each in _KNOWN if mark in each.marks), None)
