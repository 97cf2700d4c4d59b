"""A real WebRTC call between two browsers, one on the client and one on the peer."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from socket import AF_INET, AF_INET6
from typing import Any

from browser.gather import ICE_SERVERS, Candidate, parse_candidate
from browser.peer import Peer
from browser.program import Browser, running
from browser.signalling import Role, Signalling
from browser.site import Message
from lab.addresses import STUN_PORT, STUN_SERVER
from lab.coturn import PASSWORD, USER
from lab.namespace import Namespace
from lab.process import Process
from lab.topology import Lab

SETUP_SECONDS = 60  # two browsers start at the same time; it takes about 8 on an idle machine


class Way(StrEnum):
    """How the client may reach the peer."""

    DIRECT = "direct"
    TURN_UDP = "TURN over UDP"
    TURN_TCP = "TURN over TCP"

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration of the client's connection."""
        if self is Way.DIRECT:
            return {"iceServers": ICE_SERVERS, "iceTransportPolicy": "all"}
        transport = "udp" if self is Way.TURN_UDP else "tcp"
        hosts = (STUN_SERVER[AF_INET], f"[{STUN_SERVER[AF_INET6]}]")
        servers = [
            {
                "urls": f"turn:{host}:{STUN_PORT}?transport={transport}",
                "username": USER,
                "credential": PASSWORD,
            }
            for host in hosts
        ]
        return {"iceServers": servers, "iceTransportPolicy": "relay"}


@dataclass(frozen=True, slots=True)
class End:
    """One end of a candidate pair, as getStats reports it."""

    type: str
    """host, srflx, prflx or relay."""
    address: str | None
    port: int
    protocol: str

    def __str__(self) -> str:
        return f"{self.type} {self.address}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair of candidates that ICE tried (RFC 8445 §6.1.2.2)."""

    local: End
    remote: End
    selected: bool
    state: str
    sent: int
    """Bytes of payload, like `received`."""
    received: int

    def __str__(self) -> str:
        return f"{self.local} ↔ {self.remote} ({self.state}, {self.sent} bytes out, {self.received} in)"


@dataclass(frozen=True, slots=True)
class Side:
    """What one browser reports of the call."""

    candidates: tuple[Candidate, ...]
    """The browser's own candidates."""
    errors: tuple[str, ...]
    """The icecandidateerror events: code, server, local address."""
    pairs: tuple[Pair, ...]
    sent: int
    """Bytes on the data channel."""
    received: int
    seconds: float
    """From the first to the last message received on the data channel."""
    longest_gap: float
    """Milliseconds between two of those messages, at most."""
    frames: int
    """Video frames received and decoded."""
    video_bytes: int

    @property
    def selected(self) -> Pair:
        """The pair in use; ValueError unless there is exactly one."""
        (pair,) = (pair for pair in self.pairs if pair.selected)
        return pair

    def base(self, end: End) -> str | None:
        """The local address that `end` was found from (its base, RFC 8445 §4), or None if it isn't known."""
        for candidate in self.candidates:
            if (candidate.address, candidate.port) == (end.address, end.port):
                return candidate.address if candidate.type == "host" else candidate.related_address
        return None

    def __str__(self) -> str:
        lines = (
            f"candidates: {_summary(self.candidates)}",
            f"selected: {self.selected}",
            f"data: {self.sent} bytes out, {self.received} in over {self.seconds:.1f} s",
            f"longest gap between messages: {self.longest_gap:.0f} ms",
            f"video: {self.frames} frames, {self.video_bytes} bytes",
        )
        return "\n".join(f"  {line}" for line in lines)


@dataclass(frozen=True, slots=True)
class CallReport:
    """Both sides of one call."""

    client: Side
    peer: Side

    def __str__(self) -> str:
        return f"client\n{self.client}\npeer\n{self.peer}"


class CallFailedError(RuntimeError):
    """The call did not start, or ended early. The text has what both pages reported and both browsers printed."""


def call(
    lab: Lab,
    peer: Peer,
    protected: Browser,
    way: Way = Way.DIRECT,
    seconds: float = 20,
    gather_first: bool = True,
    patience: float = SETUP_SECONDS,
    inside: Sequence[str] = (),
) -> CallReport:
    """The browser `protected` on the client calls Chromium on the peer, and both exchange data for `seconds`.

    A relayed `way` is the only one that the client may use. With `gather_first` each side has all of its candidates
    before it tries any; a socket without any answer takes Chromium 40 seconds. `inside`: as of `running`, for the
    browser `protected`.
    Raises CallFailedError if a page needs more than `patience` (seconds) beyond that, or a browser ends.
    Whatever happens, both browsers have ended afterwards.
    """
    common = {"seconds": seconds, "patience": seconds + patience, "gatherFirst": gather_first}
    settings: dict[Role, dict[str, Any]] = {
        "caller": {**way.settings, **common},
        "callee": {**Way.DIRECT.settings, **common},
    }
    places: dict[Role, Namespace] = {"caller": lab.client, "callee": peer.namespace}
    with (
        Signalling(places, settings) as signalling,
        running(places["callee"], "chromium", signalling.address("callee")) as callee,
        running(places["caller"], protected, signalling.address("caller"), inside=inside) as caller,
    ):
        processes: dict[Role, Process] = {"caller": caller, "callee": callee}
        reports = _wait(signalling, processes, seconds + 2 * patience)
        if len(reports) < len(processes) or any("failure" in report for report in reports.values()):
            raise CallFailedError(_explain(reports, processes))
    return CallReport(_side(reports["caller"]), _side(reports["callee"]))


def _wait(signalling: Signalling, processes: Mapping[Role, Process], seconds: float) -> dict[Role, Message]:
    """The reports that arrive within `seconds`, and before a page fails or a browser ends."""
    reports: dict[Role, Message] = {}
    end = time.monotonic() + seconds
    while len(reports) < len(processes) and time.monotonic() < end:
        for role, process in processes.items():
            if role not in reports and (report := signalling.report(role, 0.2)) is not None:
                reports[role] = report
                if "failure" in report:
                    return reports
            if not process.running:
                return reports
    return reports


def _explain(reports: Mapping[Role, Message], processes: Mapping[Role, Process]) -> str:
    return "\n".join(
        f"{role}: reported {json.dumps(reports.get(role))}\nits browser printed:\n{_without_noise(process)}"
        for role, process in processes.items()
    )


def _without_noise(process: Process) -> str:
    # Chromium complains dozens of times that the lab has no D-Bus.
    return "\n".join(line for line in process.lines if "dbus" not in line)


def _side(report: Message) -> Side:
    data = report["data"]
    return Side(
        candidates=tuple(map(parse_candidate, report["candidates"])),
        errors=tuple(report["errors"]),
        pairs=tuple(map(_pair, report["pairs"])),
        sent=data["sent"],
        received=data["received"],
        seconds=data["seconds"],
        longest_gap=data["longestGap"],
        frames=report["frames"],
        video_bytes=report["videoBytes"],
    )


def _pair(pair: Message) -> Pair:
    return Pair(
        local=_end(pair["local"]),
        remote=_end(pair["remote"]),
        selected=bool(pair["selected"]),
        state=pair["state"],
        sent=pair["sent"],
        received=pair["received"],
    )


def _end(end: Message) -> End:
    return End(end["type"], end.get("address"), end["port"], end["protocol"])


def _summary(candidates: tuple[Candidate, ...]) -> str:
    """The kinds of candidates and how many there are of each; ports are left out, as each media section has others."""
    found = Counter(
        f"{each.type} {each.address}/{each.protocol}"
        + (f" from {each.related_address}" if each.related_address else "")
        for each in candidates
    )
    return ", ".join(f"{count} × {kind}" for kind, count in found.items())
