"""What the daemon answers to `status`, as JSON: see also cli/status.py, which prints it."""

import os
from dataclasses import asdict, fields

from stunwall import __version__
from stunwall.control.protocol import Status
from stunwall.daemon.parts import Parts
from stunwall.model import StunwallError
from stunwall.vpn.interfaces import Assessment
from stunwall.wall import queue_rules, state
from stunwall.wall.second_lock import State

# Seconds: less than the command waits for its answer.
_PATIENCE = 0.5
# asdict() takes 5 µs for each interface, and there may be a thousand.
_KEYS = tuple(field.name for field in fields(Assessment))


def status(parts: Parts) -> Status:
    """Return everything that is known of the daemon, the network and the wall."""
    wall = _wall(parts)
    # What the wall has counted and does not come before the queue is empty never will.
    queued = wall.pop("queued", 0) + parts.queued_before
    if parts.queue.serve_all(_PATIENCE):
        parts.overruns = max(0, queued - parts.queue.received)
    config, packets = parts.config, parts.packets
    return {
        "version": __version__,
        "pid": os.getpid(),
        "config": str(parts.file),
        "started": parts.started,
        "state": state_name(parts),
        "paused_until": parts.pause.until if parts.pause.left else None,
        "problems": parts.problems.texts,
        "mode": config.mode,
        "on_block": config.on_block,
        "when_vpn_down": config.when_vpn_down,
        "queue": config.queue,
        "mark_mask": config.mark_mask,
        "interfaces": [{key: getattr(each, key) for key in _KEYS} for each in parts.sync.assessments],
        "local_endpoints": parts.sync.local_endpoints,
        "ip_versions": sorted(parts.versions),
        "redirects": sorted(parts.sync.view.families),
        "allow": [rule.plain() for rule in config.allow],
        "cgroups": parts.sync.cgroups,
        "judged": _judged(parts),
        "unrecorded": parts.writer.lost,
        "unanswered": packets.unanswered,
        "unreadable": packets.unreadable,
        "faults": parts.queue.faults,
        "queue_overruns": parts.overruns,
        "exposures": [asdict(each) for each in packets.exposures],
        "gaps": [asdict(gap) for gap in parts.repair.gaps],
        "second_lock": _second_lock(parts),
        **wall,
    }


def state_name(parts: Parts) -> str:
    """Return `protected`, `sealed`, `paused`, `open` or `degraded`."""
    # What lets STUN out comes first: "degraded" says that nothing leaks.
    if parts.pause.left:
        return "paused"
    if parts.is_open:
        return "open"
    if parts.problems:
        return "degraded"
    return "protected" if parts.sync.view.vpn else "sealed"


def _judged(parts: Parts) -> list[Status]:
    return [
        {"verdict": verdict, "reason": reason, "packets": packets}
        for (verdict, reason), packets in parts.writer.counts.items()
    ]


def _second_lock(parts: Parts) -> Status:
    try:
        return asdict(parts.second_lock.state())
    except StunwallError as error:
        return asdict(State("missing", why=str(error)))


def _wall(parts: Parts) -> Status:
    parts.repair.inspect()  # what was only just changed is repaired first
    try:
        listing = state.read_listing(parts.nft)
    except StunwallError as error:
        return {"wall": "unknown", "wall_error": str(error)}
    if listing is None:
        return {"wall": "down"}
    wall, differences = state.wall(listing), parts.repair.differences(listing)
    return {
        "wall": "damaged" if differences else "up",
        "differences": differences,
        "counters": wall.counters,
        "queued": sum(rule.packets or 0 for rule in wall.rules if rule.chain in queue_rules.CHAINS),
    }
