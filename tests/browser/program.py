"""Starts real Chromium and Firefox in the lab, each with a fresh profile and without any traffic of its own."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from lab.addresses import ECHO_SERVER, STUN_NAME, STUN_SERVER, TLS_PORTS
from lab.namespace import Namespace
from lab.process import Process

Browser = Literal["chromium", "firefox"]
BROWSERS: tuple[Browser, ...] = ("chromium", "firefox")
Prefs = dict[str, bool | int | str]

# What Chromium may look up. It also looks up the address of a TURN server over TCP.
_KNOWN = ("127.0.0.1", STUN_NAME, *STUN_SERVER.values(), *ECHO_SERVER.values())
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
    "--ignore-certificate-errors",  # nobody has signed coturn's
    f"--host-resolver-rules=MAP * ~NOTFOUND, {', '.join(f'EXCLUDE {address}' for address in _KNOWN)}",
)
CHROMIUM_DEVICES = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")

FIREFOX_PREFS: Prefs = {
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
FIREFOX_DEVICES: Prefs = {
    "media.navigator.permission.disabled": True,  # no question to the user
    "permissions.default.microphone": 1,  # ICE looks at every interface only with this permission
    "permissions.default.camera": 1,
    "media.navigator.streams.fake": True,
    "media.autoplay.default": 0,  # a video that doesn't play isn't decoded
}


@contextmanager
def running(
    namespace: Namespace,
    browser: Browser,
    address: str,
    devices: bool = True,
    certificate: bytes = b"",
    inside: Sequence[str] = (),
) -> Iterator[Process]:
    """The browser inside `namespace`, showing the page at `address`; killed afterwards.

    With `devices` every page may use a microphone and a camera, both fake. `certificate` is the SHA-256 digest of
    coturn's. `inside` is a command that starts the browser, such as `Etc.command`.
    """
    # The browser's last processes may still write to the profile while it is removed.
    with tempfile.TemporaryDirectory(prefix=f"{browser}-", ignore_cleanup_errors=True) as profile:
        _trust(profile, certificate)
        command = {"chromium": _chromium, "firefox": _firefox}[browser](profile, devices)
        process = Process(namespace, *inside, *command, address, env={"HOME": profile})
        try:
            yield process
        finally:
            process.kill()


def _chromium(profile: str, devices: bool) -> list[str]:
    flags = CHROMIUM_FLAGS + (CHROMIUM_DEVICES if devices else ())
    return ["chromium", *flags, f"--user-data-dir={profile}"]


def _firefox(profile: str, devices: bool) -> list[str]:
    prefs = FIREFOX_PREFS | (FIREFOX_DEVICES if devices else {})
    lines = (f'user_pref("{name}", {json.dumps(value)});\n' for name, value in prefs.items())
    Path(profile, "user.js").write_text("".join(lines))
    return ["firefox-esr", "--headless", "--no-remote", "--profile", profile]


def _trust(profile: str, certificate: bytes) -> None:
    """As if Firefox's user had accepted coturn's certificate (nsCertOverrideService.cpp, Read)."""
    digest = f"OID.2.16.840.1.101.3.4.2.1\t{certificate.hex(':').upper()}"  # SHA-256
    lines = (f"{STUN_NAME}:{port}:\t{digest}\t\n" for port in TLS_PORTS)
    Path(profile, "cert_override.txt").write_text("".join(lines))
