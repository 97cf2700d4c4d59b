"""A real call: two browsers, one on the client and one on the peer, that talk WebRTC for a while."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

from browser.gather import (
    CHROMIUM_FLAGS,
    CHROMIUM_MICROPHONE,
    FIREFOX_MICROPHONE,
    FIREFOX_PREFS,
    ICE_SERVERS,
    PROGRAM,
    Browser,
    Candidate,
    parse_candidate,
)
from browser.peer import Peer
from browser.signalling import Message, Role, Signalling
from lab.addresses import STUN_PORT, STUN_SERVER
from lab.coturn import PASSWORD, USER
from lab.namespace import Namespace
from lab.process import Process
from lab.topology import Lab

SETUP_SECONDS = 60  # two browsers start at the same time on a busy machine; about 8 on an idle one
TURN_SERVERS = [
    {"urls": f"turn:{host}:{STUN_PORT}?transport=udp", "username": USER, "credential": PASSWORD}
    for host in (STUN_SERVER[AF_INET], f"[{STUN_SERVER[AF_INET6]}]")
]

FIREFOX_CAMERA: dict[str, bool | int | str] = {
    "media.autoplay.default": 0,  # a video that doesn't play isn't decoded
    "permissions.default.camera": 1,
}


@dataclass(frozen=True, slots=True)
class End:
    """One end of a candidate pair, as getStats tells it."""

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
    """Bytes of payload, both this and `received`."""
    received: int

    def __str__(self) -> str:
        return f"{self.local} ↔ {self.remote} ({self.state}, {self.sent} bytes out, {self.received} in)"


@dataclass(frozen=True, slots=True)
class Side:
    """What one browser says of the call at its end."""

    candidates: tuple[Candidate, ...]
    """Its own."""
    errors: tuple[str, ...]
    """The icecandidateerror events: code, server, local address."""
    pairs: tuple[Pair, ...]
    sent: int
    """Bytes on the data channel."""
    received: int
    seconds: float
    """From the first to the last message received on the data channel."""
    longest_gap: float
    """Milliseconds between two of them."""
    frames: int
    """Video frames received and decoded."""
    video_bytes: int

    @property
    def selected(self) -> Pair:
        """The pair in use; ValueError unless there is exactly one."""
        (pair,) = (pair for pair in self.pairs if pair.selected)
        return pair

    def base(self, end: End) -> str | None:
        """The local address that `end` was found from (its base, RFC 8445 §4); None if nothing says."""
        for candidate in self.candidates:
            if (candidate.address, candidate.port) == (end.address, end.port):
                return candidate.address if candidate.type == "host" else candidate.related_address
        return None

    def __str__(self) -> str:
        return "\n".join((
            f"  candidates: {_summary(self.candidates)}",
            f"  selected: {self.selected}",
            f"  data: {self.sent} bytes out, {self.received} in over {self.seconds:.1f} s,"
            f" longest gap {self.longest_gap:.0f} ms; video: {self.frames} frames, {self.video_bytes} bytes",
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class CallReport:
    """Both sides of one call."""

    client: Side
    peer: Side

    def __str__(self) -> str:
        return f"client\n{self.client}\npeer\n{self.peer}"


class CallFailedError(RuntimeError):
    """The call did not come about, or ended early. Says what both pages and both browsers said."""


def call(
    lab: Lab,
    peer: Peer,
    protected: Browser,
    relay: bool = False,
    seconds: float = 20,
    patience: float = SETUP_SECONDS,
) -> CallReport:
    """The browser `protected` on the client calls Chromium on the peer; data moves both ways for `seconds`.

    With `relay` the client may use nothing but coturn's TURN over UDP.
    Raises CallFailedError if a page takes more than `patience` (seconds) longer, or a browser ends.
    Both browsers have ended afterwards, whatever happens.
    """
    free = {"iceServers": ICE_SERVERS, "iceTransportPolicy": "all"}
    relayed = {"iceServers": TURN_SERVERS, "iceTransportPolicy": "relay"}
    times = {"seconds": seconds, "patience": seconds + patience}
    settings: dict[Role, dict[str, Any]] = {
        "caller": {**(relayed if relay else free), **times},
        "callee": {**free, **times},
    }
    places: dict[Role, Namespace] = {"caller": lab.client, "callee": peer.namespace}
    with (
        Signalling(places, settings) as signalling,
        _browser(places["callee"], "chromium", signalling.address["callee"]) as callee,
        _browser(places["caller"], protected, signalling.address["caller"]) as caller,
    ):
        processes: dict[Role, Process] = {"caller": caller, "callee": callee}
        reports = _wait(signalling, processes, seconds + 2 * patience)
        if len(reports) < len(processes) or any("failure" in report for report in reports.values()):
            raise CallFailedError(_explain(reports, processes))
    return CallReport(_side(reports["caller"]), _side(reports["callee"]))


def _wait(signalling: Signalling, processes: Mapping[Role, Process], seconds: float) -> dict[Role, Message]:
    """The reports that came within `seconds`, or before one of the browsers ended."""
    reports: dict[Role, Message] = {}
    end = time.monotonic() + seconds
    while len(reports) < len(processes) and time.monotonic() < end:
        for role, process in processes.items():
            if role not in reports and (report := signalling.report(role, 0.2)) is not None:
                reports[role] = report
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


@contextmanager
def _browser(namespace: Namespace, browser: Browser, address: str) -> Iterator[Process]:
    """The browser with a fresh profile and a fake camera, on the page at `address`; ended afterwards."""
    # Its last processes may still write there while it is removed.
    with tempfile.TemporaryDirectory(prefix=f"{browser}-", ignore_cleanup_errors=True) as profile:
        process = Process(namespace, *_command(browser, profile, address), env={"HOME": profile})
        try:
            yield process
        finally:
            process.kill()


def _command(browser: Browser, profile: str, address: str) -> list[str]:
    if browser == "chromium":
        flags = (*CHROMIUM_FLAGS, *CHROMIUM_MICROPHONE)
        return [PROGRAM[browser], *flags, f"--user-data-dir={profile}", address]
    prefs = FIREFOX_PREFS | FIREFOX_MICROPHONE | FIREFOX_CAMERA
    lines = (f'user_pref("{name}", {json.dumps(value)});\n' for name, value in prefs.items())
    Path(profile, "user.js").write_text("".join(lines))
    return [PROGRAM[browser], "--headless", "--no-remote", "--profile", profile, address]


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
    return Pair(_end(pair["local"]), _end(pair["remote"]), bool(pair["selected"]), pair["state"],
                pair["sent"], pair["received"])  # fmt: skip


def _end(end: Message) -> End:
    return End(end["type"], end.get("address"), end["port"], end["protocol"])


def _summary(candidates: tuple[Candidate, ...]) -> str:
    """The kinds of candidates without their ports, as each media section has its own."""
    found = Counter(
        f"{each.type} {each.address}/{each.protocol}"
        + (f" from {each.related_address}" if each.related_address else "")
        for each in candidates
    )
    return ", ".join(f"{count} × {kind}" for kind, count in found.items())
