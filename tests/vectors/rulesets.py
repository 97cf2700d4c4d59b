"""What `nft -j list ruleset` prints on machines with these programs, reduced to some tables, chains and rules.

Taken with nft 1.0.6 on Debian 12, from Debian's own packages. systemd started the programs, unless a comment says
otherwise.
"""

from typing import Any

Item = dict[str, Any]


def _tables(names: str) -> list[Item]:
    """'ip filter, ip6 filter' → an item for each table."""
    return [{"table": {"family": family, "name": name}} for family, name in map(str.split, names.split(", "))]


def _chains(table: str, names: str) -> list[Item]:
    family, table_name = table.split()
    return [{"chain": {"family": family, "table": table_name, "name": name}} for name in names.split()]


def _rule(chain: str, *expressions: Item) -> Item:
    family, table, name = chain.split()
    return {"rule": {"family": family, "table": table, "chain": name, "expr": list(expressions)}}


def _match(operator: str, left: Item, right: Any) -> Item:
    return {"match": {"op": operator, "left": left, "right": right}}


def _xt(kind: str, name: str) -> Item:
    return {"xt": {"type": kind, "name": name}}


def _payload(protocol: str, field: str) -> Item:
    return {"payload": {"protocol": protocol, "field": field}}


def _jump(target: str) -> Item:
    return {"jump": {"target": target}}


_COUNTER: Item = {"counter": {"packets": 0, "bytes": 0}}
_OUT_INTERFACE: Item = {"meta": {"key": "oifname"}}
_ALL_LEGACY = "ip filter, ip6 filter, ip mangle, ip6 mangle, ip nat"
_UFW_CHAINS = """
    ufw-before-logging-input ufw-before-logging-output ufw-before-logging-forward
    ufw-before-input ufw-before-output ufw-before-forward
"""
_FIREWALLD_CHAINS = """
    filter_FWD_public filter_FWD_public_pre filter_FWD_public_log
    filter_FWD_public_deny filter_FWD_public_allow filter_FWD_public_post
"""
_DOCKER_NETWORK: Item = {"prefix": {"addr": "172.17.0.0", "len": 16}}

RULESETS: dict[str, list[Item]] = {
    # docker.io
    "docker": [
        *_tables(_ALL_LEGACY),
        *_chains("ip filter", "DOCKER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 DOCKER-USER"),
        *_chains("ip nat", "DOCKER"),
        _rule(
            "ip filter FORWARD",
            _match("==", _OUT_INTERFACE, "docker0"),
            _xt("match", "conntrack"),
            _COUNTER,
            {"accept": None},
        ),
        _rule(
            "ip nat POSTROUTING",
            _match("!=", _OUT_INTERFACE, "docker0"),
            _match("==", _payload("ip", "saddr"), _DOCKER_NETWORK),
            _COUNTER,
            _xt("target", "MASQUERADE"),
        ),
        _rule("ip nat PREROUTING", _xt("match", "addrtype"), _COUNTER, _jump("DOCKER")),
    ],
    # ufw
    "ufw": [
        *_tables(_ALL_LEGACY),
        *_chains("ip filter", _UFW_CHAINS),
        _rule("ip filter ufw-before-input", _xt("match", "conntrack"), _COUNTER, {"accept": None}),
        _rule("ip filter ufw-before-input", _xt("match", "conntrack"), _COUNTER, _jump("ufw-logging-deny")),
        _rule("ip filter ufw-before-input", _xt("match", "conntrack"), _COUNTER, {"drop": None}),
    ],
    # firewalld
    "firewalld": [
        *_tables("inet firewalld"),
        *_chains("inet firewalld", _FIREWALLD_CHAINS),
    ],
    # opensnitch 1.5.8, started by hand: its rules are those of iptables.
    "opensnitch": [
        *_tables("ip filter, ip mangle"),
        *_chains("ip mangle", "OUTPUT opensnitch-filter-OUTPUT"),
        _rule(
            "ip filter INPUT",
            _match("==", _payload("udp", "sport"), 53),
            _COUNTER,
            _xt("target", "NFQUEUE"),
        ),
    ],
}
