"""What a page sees of a refusal, by what the refusal says, beside real servers: `./tests/run.sh refusals`.

Real Chromium and Firefox in the lab, with the microphone and without; the VPN is down, so that all servers are reached
by the same way. A page asks each server in a connection of its own, as STUN server and as TURN server over UDP and TCP:
first real ones without stunwall, then, with it, one port for each refusal of bench/refusing.py.

Printed for each: until gathering was complete, in milliseconds (the median), the icecandidateerror events (code and
text, with their number if there are several, and the local address), the candidates beside the host's, and which
real servers show the same statistics and SDP. A server of the lab answers within a millisecond; one in
the Internet takes 10 to 100.
"""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM
from statistics import median
from typing import Any

from bench.refusing import ANSWERS, PORTS
from browser.gather import parse_candidate
from browser.program import BROWSERS, Browser, running
from browser.site import Message, Site
from lab.addresses import STUN_PORT, STUN_SERVER
from lab.agent import DAEMON, PACKAGE, Agent
from lab.coturn import PASSWORD, USER
from lab.deadline import until
from lab.leaks import VPN_DOWN
from lab.messages import allocate_request, error_code
from lab.namespace import require_isolation
from lab.probe import ask
from lab.process import Process
from lab.server import Server
from lab.topology import Lab

SERVER = STUN_SERVER[AF_INET]
REFUSING, TURN_ONLY, CLOSED, DEAD = 3600, 3700, 3800, 3900  # ports
ROUNDS = 5
PATIENCE = (3, 60)  # seconds until the page goes on to the next server, and for what is open at the end
KINDS = {
    "STUN": "stun:{}:{}",
    "TURN over UDP": "turn:{}:{}?transport=udp",
    "TURN over TCP": "turn:{}:{}?transport=tcp",
}
OPTIONS = f"-n --no-cli --no-tls --no-dtls -m 2 --log-file stdout --lt-cred-mech --realm lab --listening-ip {SERVER}"
REAL: dict[str, tuple[str, int]] = {
    "coturn, answers": (SERVER, STUN_PORT),
    "coturn, refuses": (SERVER, REFUSING),
    "coturn --no-stun": (SERVER, TURN_ONLY),
    "closed port": (SERVER, CLOSED),
    "dead": (SERVER, DEAD),
}
REFUSALS = {name: (SERVER, port) for name, port in zip(ANSWERS, PORTS, strict=True)}


class Refusing(Agent):
    """The daemon of bench/refusing.py."""

    def begin(self, *options: str, **environment: str) -> None:
        super().begin(*options, PYTHONPATH=f"{PACKAGE}:{PACKAGE.parent / 'tests'}", **environment)

    def command(self, module: str) -> list[str]:
        return [word.replace(DAEMON, "bench.refusing") for word in super().command(module)]


class Silent(Server):
    """Takes TCP connections, and never says anything."""

    def reply(self, payload: bytes, sender: tuple[Any, ...]) -> bytes:
        return b""


@contextmanager
def servers(lab: Lab) -> Iterator[None]:
    """Servers besides the lab's own coturn: one that refuses, one without STUN, a dead one, and one a refusal."""
    with ExitStack() as stack:
        for port, options in (
            (REFUSING, f"--secure-stun --user {USER}:another"),
            (TURN_ONLY, f"--no-stun --user {USER}:{PASSWORD}"),
        ):
            command = (
                f"{OPTIONS} --listening-port {port} --pidfile=/run/{port} --userdb=/run/{port}.db {options}"
            )
            coturn = Process(lab.stun, "turnserver", *command.split())
            stack.callback(coturn.stop)
            asked = partial(ask, lab.stun, (SERVER, port), allocate_request(), kind=SOCK_DGRAM, seconds=0.1)
            until(lambda asked=asked: error_code(asked()) == 401, 10, f"coturn on port {port}")  # type: ignore[misc]
        stack.enter_context(Silent(lab.stun, [(SOCK_STREAM, SERVER, port) for port in (*PORTS, DEAD)]))
        hook = "type filter hook input priority filter"
        drop = f"chain input {{ {hook}; meta l4proto {{ tcp, udp }} th dport {DEAD} drop; }}"
        stack.enter_context(lab.stun.table("inet lab_dead", drop))
        yield


@dataclass(frozen=True, slots=True)
class Seen:
    """What a page saw of one server in one connection."""

    milliseconds: float | None
    """Until gathering was complete; None: never."""
    errors: tuple[tuple[int, str, str, float], ...]
    """icecandidateerror: code, text, local address, milliseconds."""
    others: tuple[str, ...]
    """The candidates that no dead server would have given."""
    rest: str
    """Statistics and SDP, without what is random."""


def visit(
    lab: Lab, browser: Browser, microphone: bool, places: Sequence[tuple[str, int]]
) -> Iterator[tuple[str, Sequence[Seen]]]:
    """For each kind, what the page saw of the server at each of the places."""
    names = [(kind, place) for kind in KINDS for place in places]
    credentials = {"username": USER, "credential": PASSWORD}
    cases = [
        [{"urls": KINDS[kind].format(*place)} | (credentials if "turn:" in KINDS[kind] else {})]
        for kind, place in names
    ]
    settings = {"cases": cases, "microphone": microphone, "rounds": ROUNDS, "patience": PATIENCE}
    with (
        Site(lab.client, "refusals.html", settings) as site,
        running(lab.client, browser, site.address, microphone) as process,
    ):
        report = None
        end = time.monotonic() + 400
        while report is None and process.running and time.monotonic() < end:
            report = site.report(1)
    if report is None or "failure" in report:
        raise RuntimeError(f"{browser} reported {report}; it printed:\n{process.output}")
    for (kind, _), results in zip(names, report["results"], strict=True):
        yield kind, [_seen(result) for result in results]


def _seen(result: Message) -> Seen:
    candidates = [parse_candidate(line) for line in result["candidates"]]
    return Seen(
        result["milliseconds"],
        tuple(
            (e["errorCode"], e["errorText"], f"{e['address']}", e["milliseconds"]) for e in result["errors"]
        ),
        tuple(sorted(f"{each.type} {each.address}" for each in candidates if each.type != "host")),
        _statistics(result["statistics"]) + "\n" + _sdp(result["sdp"]),
    )


def _statistics(values: Sequence[Mapping[str, Any]]) -> str:
    """Which statistics there are, with their fields, and the values of those that are no numbers and not random."""
    kept = (
        "type",
        "candidateType",
        "protocol",
        "networkType",
        "iceState",
        "iceLocalCandidateType",
        "state",
        "url",
    )
    return json.dumps(sorted(f"{sorted(value)} {[value.get(name) for name in kept]}" for value in values))


def _sdp(text: str) -> str:
    lines = [re.sub(r"[0-9A-Za-z:/+.-]{8,}|\d+", "…", line) for line in text.splitlines()]
    return "\n".join(sorted(lines))


def row(seen: Sequence[Seen], real: Mapping[str, Sequence[Seen]]) -> str:
    """What the page saw, and of which real servers it saw the same statistics and SDP."""
    done = [each.milliseconds for each in seen if each.milliseconds is not None]
    time_ = f"{median(done):.0f}" if done else "never"
    events = Counter((code, text) for code, text, _, _ in seen[0].errors)
    addresses = ", ".join(sorted({address for _, _, address, _ in seen[0].errors}))
    errors = "; ".join(f"{n} × {code} '{text}'" for (code, text), n in events.items())
    others = ", ".join(seen[0].others)
    rests = {each.rest for each in seen}
    rest = ", ".join(name for name, those in real.items() if rests & {each.rest for each in those})
    return f"{time_} | {errors or '–'}{f' ({addresses})' if errors else ''} | {others or '–'} | {rest or '–'}"


def main() -> int:
    try:
        require_isolation()
    except RuntimeError as error:
        sys.exit(str(error).replace("run.sh lab", "run.sh refusals"))
    wanted = sys.argv[1:] or list(BROWSERS)
    with Lab() as lab, VPN_DOWN.made(lab), servers(lab):
        for browser in (each for each in BROWSERS if each in wanted):
            for microphone in (True, False):
                _measure(lab, browser, microphone)
    return 0


def _measure(lab: Lab, browser: Browser, microphone: bool) -> None:
    seen: dict[tuple[str, str], Sequence[Seen]] = {}
    free = visit(lab, browser, microphone, list(REAL.values()))
    names = [name for _ in KINDS for name in REAL]
    for name, (kind, found) in zip(names, free, strict=True):
        seen[kind, name] = found
    with Refusing(lab):
        refused = visit(lab, browser, microphone, list(REFUSALS.values()))
        names = [name for _ in KINDS for name in REFUSALS]
        for name, (kind, found) in zip(names, refused, strict=True):
            seen[kind, f"stunwall: {name}"] = found
    print(f"\n{browser}, microphone {'granted' if microphone else 'not granted'}")
    for kind in KINDS:
        print(f"\n| {kind} | complete, ms | icecandidateerror | candidates | statistics and SDP as |")
        print("| --- | --- | --- | --- | --- |")
        real = {name: seen[kind, name] for name in REAL}
        for (each, name), found in seen.items():
            if each == kind:
                print(f"| {name} | {row(found, real)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
