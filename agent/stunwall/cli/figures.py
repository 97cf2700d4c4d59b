"""What `stunwall metrics` says: each metric with its name, its meaning and its values. No I/O.

The labels are closed sets. No metric has an address, a user, a program or an interface, which the name of a VPN's would
tell its provider and place: these figures leave the machine.
"""

from collections.abc import Iterator, Mapping

from stunwall import __version__, reasons
from stunwall.cli import exposition
from stunwall.cli.exposition import Labels, Metric
from stunwall.cli.report import UNRECORDED, Report
from stunwall.config import Config
from stunwall.control.protocol import Status
from stunwall.model import EXPOSED, GAP, LEAK, Reason, Verdict
from stunwall.queue.proc import Row
from stunwall.record.ledger import Kind

STATES = (*("protected", "sealed", "degraded", "leaking", "wall-only", "paused", "open", "down"), "unknown")
"""Those of `stunwall status`."""
EVENTS = (GAP, LEAK, "paused", "resumed", "allowed", "revoked", "reloaded")
"""The verdicts of events about no packet."""
_VERDICTS = {
    Reason.REDIRECTED: Verdict.REDIRECT.value,
    Reason.VPN_DOWN_ALLOWED: Verdict.ACCEPT.value,
    Reason.EXPOSED: EXPOSED,
}
VERDICTS = tuple(
    (_VERDICTS.get(Reason(each.code), Verdict.BLOCK.value), each.code)
    for each in reasons.EXPLANATIONS
    if each.code in list(Reason)
)
"""Each recorded reason, with its verdict. What is counted from 0 shows its first packet as an increase."""
CAUSES = {
    "unrecorded": "disk",
    "queue_overruns": "queue",
    "unattended": "not-ready",
    **{key: key.removeprefix("over_").replace("_", "-") for key in UNRECORDED if key.startswith("over_")},
}
"""Why blocked packets are missing from the record, by their number's key in the status."""
_NONE: Labels = {}


def of(found: Report, config: Config, queue: Row | None, ledger: Mapping[Kind, float] | None) -> list[Metric]:
    """Return all metrics; without samples those of which nothing is known.

    Args:
        found: what the daemon or the kernel says.
        config: the configuration in the files.
        queue: what the kernel says of the daemon's queue, None if nothing.
        ledger: the seconds of each kind, None if they cannot be read.
    """
    return [
        *_state(found, config),
        *_proof(found.proof),
        *_packets(found),
        *_wall(found),
        *_queue(queue),
        *_exposure(ledger),
    ]


def _state(found: Report, config: Config) -> Iterator[Metric]:
    daemon = found.daemon or {}
    state = found.state if found.state in STATES else "unknown"
    info = {
        "version": str(daemon.get("version", __version__)),
        "mode": str(daemon.get("mode", config.mode.value)),
        "when_vpn_down": str(daemon.get("when_vpn_down", config.when_vpn_down.value)),
    }
    yield _gauge("info", "Version and settings of stunwall.", (info, 1))
    yield _gauge("up", "Whether stunwalld answered: 1 or 0.", (_NONE, int(bool(daemon))))
    yield _gauge(
        "state",
        "The state that stunwall status shows: 1 for that one, 0 for the others.",
        *(({"state": each}, int(each == state)) for each in STATES),
    )
    yield _gauge(
        "leak_possible",
        "Whether STUN can leave outside the VPN: 1 or 0; missing if unknown.",
        *_if(found.leak),
    )
    started = daemon.get("started")
    yield _gauge("start_time_seconds", "When stunwalld started, in Unix time.", *_if(started))
    yield _gauge(
        "problems",
        "How many things are wrong, as stunwall status lists them.",
        *_if(len(daemon["problems"]) if daemon else None),
    )
    counted = sum(bool(each["counts"]) for each in daemon["interfaces"]) if daemon else None
    yield _gauge("vpn_interfaces", "How many interfaces count as the VPN.", *_if(counted))


def _proof(proof: Status | None) -> Iterator[Metric]:
    known = proof if proof is not None and proof["verdict"] else None
    yield _gauge(
        "proof_timestamp_seconds",
        "When stunwall check last had a result, in Unix time; missing if not since stunwalld started.",
        *_if(known["time"] if known else None),
    )
    yield _gauge(
        "proof_sealed",
        "What that check has shown: 1 sealed, 0 a leak.",
        *_if(known["verdict"] == "sealed" if known else None),
    )
    yield _gauge(
        "proof_outdated",
        "Whether the VPN, a way out, the wall or the configuration has changed since that check: 1 or 0.",
        *_if(known["changed"] if known else None),
    )


def _packets(found: Report) -> Iterator[Metric]:
    daemon = found.daemon or {}
    told = {
        (str(each["verdict"]), str(each["reason"])): int(each["packets"]) for each in daemon.get("judged", ())
    }
    known = bool(daemon)
    packets = dict.fromkeys(VERDICTS, 0) | {key: number for key, number in told.items() if key[1]}
    yield _counter(
        "packets_total",
        "Packets that stunwalld judged and recorded since it started, by verdict and reason.",
        *(
            ({"verdict": verdict, "reason": reason}, number)
            for (verdict, reason), number in packets.items()
            if known
        ),
    )
    yield _counter(
        "events_total",
        "What happened since stunwalld started. gap: another program changed the wall.",
        *(({"event": each}, told.get((each, ""), 0)) for each in EVENTS if known),
    )
    counted = {**daemon, **found.counters}
    yield _counter(
        "unrecorded_packets_total",
        "Packets that were blocked but not recorded, by cause.",
        *(({"cause": cause}, int(counted[key])) for key, cause in CAUSES.items() if key in counted),
    )
    for key, said in (
        ("unanswered", "Packets that were blocked but could not be refused."),
        ("unreadable", "Packets that were blocked because they could not be parsed."),
        ("faults", "Packets that were blocked because stunwalld failed to judge them."),
    ):
        name = "faulty" if key == "faults" else key
        yield _counter(f"{name}_packets_total", said, *_if(daemon.get(key)))


def _wall(found: Report) -> Iterator[Metric]:
    yield _counter(
        "wall_packets_total",
        "Packets that a named counter of the wall has counted since the rules were loaded.",
        *(({"counter": key}, number) for key, number in found.counters.items() if key not in UNRECORDED),
    )
    second = (found.daemon or {}).get("second_lock")
    yield _gauge(
        "second_lock_up",
        "Whether the second lock is up: 1 or 0.",
        *_if(second["state"] == "up" if second else None),
    )
    yield _counter(
        "second_lock_dropped_packets_total",
        "Packets that the second lock dropped because the first lock had not passed them.",
        *_if(second["dropped"] if second else None),
    )


def _queue(row: Row | None) -> Iterator[Metric]:
    yield _gauge(
        "queue_waiting_packets",
        "Packets in the queue that wait for a verdict.",
        *_if(None if row is None else row.waiting),
    )
    dropped = {} if row is None else {"full": row.full, "unsent": row.unsent}
    yield _counter(
        "queue_dropped_packets_total",
        "Packets that the kernel dropped because too many waited (full) or stunwalld's socket had no room (unsent).",
        *(({"cause": cause}, number) for cause, number in dropped.items()),
    )


def _exposure(ledger: Mapping[Kind, float] | None) -> Iterator[Metric]:
    yield _gauge(
        "ledger_readable",
        "Whether the exposure ledger could be read: 1 or 0.",
        (_NONE, int(ledger is not None)),
    )
    yield _counter(
        "exposure_seconds_total",
        "Time since the ledger began, by what it says of it, as stunwall exposure does; sealed is no exposure.",
        *(({"kind": kind.value}, seconds) for kind, seconds in (ledger or {}).items()),
    )


def _if(value: float | None) -> Iterator[tuple[Labels, float]]:
    """Yield the only sample of a metric, nothing if its value is not known."""
    if value is not None:
        yield _NONE, int(value) if isinstance(value, bool) else value


def _gauge(name: str, said: str, *samples: tuple[Labels, float]) -> Metric:
    return Metric(f"stunwall_{name}", exposition.Kind.GAUGE, said, samples)


def _counter(name: str, said: str, *samples: tuple[Labels, float]) -> Metric:
    return Metric(f"stunwall_{name}", exposition.Kind.COUNTER, said, samples)
