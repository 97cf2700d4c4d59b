"""Starts a real browser in the lab, lets a page gather ICE candidates in it, and returns them."""

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any, Literal

from browser.page import Page
from lab.addresses import STUN_PORT, STUN_SERVER
from lab.process import Process
from lab.topology import Lab

Browser = Literal["chromium", "firefox"]
PROGRAM = {"chromium": "chromium", "firefox": "firefox-esr"}
SECONDS = 60  # a cold start takes about 5, and gathering against a silent server about 10

ICE_SERVERS = [
    {"urls": f"stun:{STUN_SERVER[AF_INET]}:{STUN_PORT}"},
    {"urls": f"stun:[{STUN_SERVER[AF_INET6]}]:{STUN_PORT}"},
]

CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",  # the lab runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
CHROMIUM_MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")

FIREFOX_MICROPHONE: dict[str, bool | int | str] = {
    "media.navigator.permission.disabled": True,  # no question to the user
    "permissions.default.microphone": 1,  # what ICE asks for before it looks at every interface
    "media.navigator.streams.fake": True,
}
FIREFOX_PREFS: dict[str, bool | int | str] = {
    # Nothing but the page may use the network.
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.region.network.url": "",
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "network.trr.mode": 5,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.unified": False,
}


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
    """What the page saw, and how long iceGatheringState took to become 'complete'."""

    candidates: tuple[Candidate, ...]
    milliseconds: float
    errors: tuple[str, ...]
    """The icecandidateerror events: code, server, local address."""

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


def gather(lab: Lab, browser: Browser, microphone: bool = True) -> Gathered:
    """Opens the page in a browser with a fresh profile on the client, and ends the browser afterwards.

    With `microphone` the page has been granted one, as in a call; without, it is any page of the web.
    Raises RuntimeError, with what the browser printed, if the page reports nothing within SECONDS or fails.
    """
    # The browser's last processes may still write there while it is removed.
    with (
        tempfile.TemporaryDirectory(prefix=f"{browser}-", ignore_cleanup_errors=True) as profile,
        Page(lab.client, ICE_SERVERS) as page,
    ):
        address = page.address + ("?microphone" if microphone else "")
        command = _command(browser, profile, address, microphone)
        process = Process(lab.client, *command, env={"HOME": profile})
        try:
            report = _wait(page, process)
        finally:
            process.kill()
    if report is None or "failure" in report:
        raise RuntimeError(
            f"{browser} reported {report} in {SECONDS} s, not its candidates; it printed:\n{process.output}"
        )
    lines = [line for line in report["candidates"] if line]
    return Gathered(tuple(map(parse_candidate, lines)), report["milliseconds"], tuple(report["errors"]))


def _wait(page: Page, process: Process) -> dict[str, Any] | None:
    end = time.monotonic() + SECONDS
    while process.running and time.monotonic() < end:
        report = page.report(0.5)
        if report is not None:
            return report
    return None


def _command(browser: Browser, profile: str, address: str, microphone: bool) -> list[str]:
    if browser == "chromium":
        flags = CHROMIUM_FLAGS + (CHROMIUM_MICROPHONE if microphone else ())
        return ["chromium", *flags, f"--user-data-dir={profile}", address]
    prefs = FIREFOX_PREFS | (FIREFOX_MICROPHONE if microphone else {})
    lines = (f'user_pref("{name}", {json.dumps(value)});\n' for name, value in prefs.items())
    Path(profile, "user.js").write_text("".join(lines))
    return ["firefox-esr", "--headless", "--no-remote", "--profile", profile, address]
