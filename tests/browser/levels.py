"""How much a browser's policy lets WebRTC show, by Chromium's names of the levels."""

import json

from browser.etc import Etc
from browser.program import Browser

LEVELS = (
    "default",
    "default_public_and_private_interfaces",
    "default_public_interface_only",
    "disable_non_proxied_udp",
)
# What comes closest in Firefox, of media.peerconnection.ice.
_FIREFOX = dict(
    zip(
        LEVELS,
        (
            (),
            ("default_address_only",),
            ("default_address_only", "no_host"),
            ("default_address_only", "no_host", "proxy_only"),
        ),
        strict=True,
    )
)


def set_level(etc: Etc, browser: Browser, level: str) -> None:
    """Writes the managed policy."""
    if browser == "chromium":
        etc.write("chromium/policies/managed/level.json", json.dumps({"WebRtcIPHandling": level}))
    else:
        locked = {
            f"media.peerconnection.ice.{name}": {"Value": True, "Status": "locked"}
            for name in _FIREFOX[level]
        }
        etc.write("firefox/policies/policies.json", json.dumps({"policies": {"Preferences": locked}}))
