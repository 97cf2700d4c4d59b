"""The answer of a healthy daemon to the request `status`."""

from typing import Any

STATUS: dict[str, Any] = {
    "version": "1",
    "pid": 7,
    "config": "c.toml",
    "started": 1.0,
    "state": "protected",
    "paused_until": None,
    "problems": [],
    "mode": "block",
    "on_block": "answer",
    "when_vpn_down": "block",
    "queue": 4780,
    "mark_mask": 0x90000000,
    "redirects": [],
    "allow": [],
    "cgroups": [],
    "local_endpoints": [],
    "judged": [
        {"verdict": "blocked", "reason": "outside-vpn", "packets": 7},
        {"verdict": "gap", "reason": "", "packets": 2},
    ],
    "unrecorded": 0,
    "ip_versions": [4, 6],
    "unanswered": 0,
    "unreadable": 0,
    "faults": 0,
    "queue_overruns": 0,
    "exposures": [],
    "gaps": [],
    "proof": {
        "verdict": "sealed",
        "time": 1.0,
        "seconds": 725.5,
        "sealed": 14,
        "tests": 14,
        "interfaces": [],
        "changed": False,
        "for_all": True,
        "inconclusive": None,
    },
    "counters": {"into_ipsec": 3, "over_limit": 0, "unattended": 0},
    "interfaces": [
        {
            "interface": "wg0",
            "kind": "wireguard",
            "counts": True,
            "why": "a wireguard interface",
            "inside": False,
            "doubt": False,
        },
        {
            "interface": "eth0",
            "kind": "",
            "counts": False,
            "why": "a network card",
            "inside": False,
            "doubt": False,
        },
        *(
            {
                "interface": name,
                "kind": "veth",
                "counts": False,
                "why": "a veth interface",
                "inside": True,
                "doubt": False,
            }
            for name in ("veth0", "veth1")
        ),
    ],
    "wall": "up",
    "differences": [],
    "second_lock": {"state": "up", "interfaces": ["eth0"], "dropped": 0, "why": ""},
}
