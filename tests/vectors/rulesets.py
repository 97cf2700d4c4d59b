"""What `nft -j list ruleset` says where these programs run, cut to their tables, some chains and some rules.

Taken with nft 1.0.6 from the programs of Debian 12, started by systemd where it says nothing else.
"""

from typing import Any

RULESETS: dict[str, Any] = {
    "docker": [
        {"table": {"family": "ip", "name": "filter"}},
        {"table": {"family": "ip6", "name": "filter"}},
        {"table": {"family": "ip", "name": "mangle"}},
        {"table": {"family": "ip6", "name": "mangle"}},
        {"table": {"family": "ip", "name": "nat"}},
        {"chain": {"family": "ip", "table": "filter", "name": "DOCKER"}},
        {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-ISOLATION-STAGE-1"}},
        {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-ISOLATION-STAGE-2"}},
        {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}},
        {"chain": {"family": "ip", "table": "nat", "name": "DOCKER"}},
        {
            "rule": {
                "family": "ip",
                "table": "filter",
                "chain": "FORWARD",
                "expr": [
                    {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "docker0"}},
                    {"xt": {"type": "match", "name": "conntrack"}},
                    {"counter": {"packets": 0, "bytes": 0}},
                    {"accept": None},
                ],
            }
        },
        {
            "rule": {
                "family": "ip",
                "table": "nat",
                "chain": "POSTROUTING",
                "expr": [
                    {"match": {"op": "!=", "left": {"meta": {"key": "oifname"}}, "right": "docker0"}},
                    {
                        "match": {
                            "op": "==",
                            "left": {"payload": {"protocol": "ip", "field": "saddr"}},
                            "right": {"prefix": {"addr": "172.17.0.0", "len": 16}},
                        }
                    },
                    {"counter": {"packets": 0, "bytes": 0}},
                    {"xt": {"type": "target", "name": "MASQUERADE"}},
                ],
            }
        },
        {
            "rule": {
                "family": "ip",
                "table": "nat",
                "chain": "PREROUTING",
                "expr": [
                    {"xt": {"type": "match", "name": "addrtype"}},
                    {"counter": {"packets": 0, "bytes": 0}},
                    {"jump": {"target": "DOCKER"}},
                ],
            }
        },
    ],
    "ufw": [
        {"table": {"family": "ip", "name": "filter"}},
        {"table": {"family": "ip6", "name": "filter"}},
        {"table": {"family": "ip", "name": "mangle"}},
        {"table": {"family": "ip6", "name": "mangle"}},
        {"table": {"family": "ip", "name": "nat"}},
        {"chain": {"family": "ip", "table": "filter", "name": "ufw-before-logging-input"}},
        {"chain": {"family": "ip", "table": "filter", "name": "ufw-before-logging-output"}},
        {"chain": {"family": "ip", "table": "filter", "name": "ufw-before-logging-forward"}},
        {"chain": {"family": "ip", "table": "filter", "name": "ufw-before-input"}},
        {"chain": {"family": "ip", "table": "filter", "name": "ufw-before-output"}},
        {"chain": {"family": "ip", "table": "filter", "name": "ufw-before-forward"}},
        {
            "rule": {
                "family": "ip",
                "table": "filter",
                "chain": "ufw-before-input",
                "expr": [
                    {"xt": {"type": "match", "name": "conntrack"}},
                    {"counter": {"packets": 0, "bytes": 0}},
                    {"accept": None},
                ],
            }
        },
        {
            "rule": {
                "family": "ip",
                "table": "filter",
                "chain": "ufw-before-input",
                "expr": [
                    {"xt": {"type": "match", "name": "conntrack"}},
                    {"counter": {"packets": 0, "bytes": 0}},
                    {"jump": {"target": "ufw-logging-deny"}},
                ],
            }
        },
        {
            "rule": {
                "family": "ip",
                "table": "filter",
                "chain": "ufw-before-input",
                "expr": [
                    {"xt": {"type": "match", "name": "conntrack"}},
                    {"counter": {"packets": 0, "bytes": 0}},
                    {"drop": None},
                ],
            }
        },
    ],
    "firewalld": [
        {"table": {"family": "inet", "name": "firewalld"}},
        {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FWD_public"}},
        {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FWD_public_pre"}},
        {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FWD_public_log"}},
        {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FWD_public_deny"}},
        {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FWD_public_allow"}},
        {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FWD_public_post"}},
    ],
    # OpenSnitch 1.5.8, started by hand: its rules are those of iptables.
    "opensnitch": [
        {"table": {"family": "ip", "name": "filter"}},
        {"table": {"family": "ip", "name": "mangle"}},
        {"chain": {"family": "ip", "table": "mangle", "name": "OUTPUT"}},
        {"chain": {"family": "ip", "table": "mangle", "name": "opensnitch-filter-OUTPUT"}},
        {
            "rule": {
                "family": "ip",
                "table": "filter",
                "chain": "INPUT",
                "expr": [
                    {
                        "match": {
                            "op": "==",
                            "left": {"payload": {"protocol": "udp", "field": "sport"}},
                            "right": 53,
                        }
                    },
                    {"counter": {"packets": 0, "bytes": 0}},
                    {"xt": {"type": "target", "name": "NFQUEUE"}},
                ],
            }
        },
    ],
}
