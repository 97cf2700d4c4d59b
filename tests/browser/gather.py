"""Opens a page in a real browser in the lab, lets it gather ICE candidates, and returns them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from socket import AF_INET, AF_INET6

from browser.program import Browser, running
from browser.site import Message, Site
from lab.addresses import STUN_PORT, STUN_SERVER
from lab.process import Process
from lab.topology import Lab

SECONDS = 60  # a cold start takes about 5, and gathering against a silent server about 10

ICE_SERVERS = [
    {"urls": f"stun:{STUN_SERVER[AF_INET]}:{STUN_PORT}"},
    {"urls": f"stun:[{STUN_SERVER[AF_INET6]}]:{STUN_PORT}"},
]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ICE candidate as RFC 8839 §5.1 writes it. The address may be an mDNS name."""

    type: str
    """host, srflx, prflx or relay."""
    protocol: str
    address: str
    port: int
    related_address: str | None
    """For srflx: the local address it was found from."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the page saw."""

    before: tuple[Candidate, ...]
    """Of the connection that asked other servers before."""
    candidates: tuple[Candidate, ...]
    complete: bool
    """Whether iceGatheringState became 'complete' before the page's patience ended."""
    milliseconds: float
    """How long that took, or the page's patience."""
    errors: tuple[str, ...]
    """The icecandidateerror events: code, server, local address."""

    @property
    def all(self) -> tuple[Candidate, ...]:
        """The candidates of both connections."""
        return self.before + self.candidates

    def addresses(self, kind: str) -> set[str]:
        """The addresses of the candidates of one type."""
        return {candidate.address for candidate in self.candidates if candidate.type == kind}


def parse_candidate(line: str) -> Candidate:
    """'candidate:1 1 udp 2122260223 192.0.2.1 4000 typ host …' → Candidate; ValueError if it isn't one."""
    words = line.split()
    if not line.startswith("candidate:") or len(words) < 8 or words[6] != "typ":
        raise ValueError(f"not an ICE candidate: {line!r}")
    further = dict(zip(words[8::2], words[9::2], strict=False))
    return Candidate(words[7], words[2].lower(), words[4], int(words[5]), further.get("raddr"))


def gather(
    lab: Lab,
    browser: Browser,
    microphone: bool = True,
    servers: Sequence[Mapping[str, str]] = ICE_SERVERS,
    peer: Sequence[str] = (),
    others: int = 0,
    inside: Sequence[str] = (),
    patience: float = SECONDS - 10,
    before: Sequence[Mapping[str, str]] = (),
) -> Gathered:
    """Opens the page in a browser with a fresh profile on the client, and ends the browser afterwards.

    With `microphone` the page may use one, as in a call; without, it is like any page on the web. `servers` are its ICE
    servers. `peer`: candidates of a peer that does not answer; the page tries them until ICE fails.
    `others`: how many connections gather besides. `inside`: as of `running`. `patience`: seconds until the page reports
    what there is, if gathering, or trying the peer, has not ended; a browser gives a silent server 10 to 40.
    `before`: the ICE servers that another connection of the page asks before.
    Raises RuntimeError, with what the browser printed, if the page fails or reports nothing within SECONDS.
    """
    settings = {
        "iceServers": servers,
        "microphone": microphone,
        "peer": peer,
        "others": others,
        "patience": patience,
        "before": before,
    }
    with Site(lab.client, "page.html", settings) as site:
        with running(
            lab.client, browser, site.address, microphone, lab.coturn.certificate, inside
        ) as process:
            report = _wait(site, process)
        if report is None or "failure" in report:
            raise RuntimeError(
                f"{browser} reported {report} in {SECONDS} s, not its candidates; it printed:\n{process.output}"
            )
    earlier, candidates = (
        tuple(parse_candidate(line) for line in report[key] if line) for key in ("before", "candidates")
    )
    return Gathered(earlier, candidates, report["complete"], report["milliseconds"], tuple(report["errors"]))


def _wait(site: Site, process: Process) -> Message | None:
    end = time.monotonic() + SECONDS
    while process.running and time.monotonic() < end:
        report = site.report(0.5)
        if report is not None:
            return report
    return None
