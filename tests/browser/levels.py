"""How much a browser's policy lets WebRTC show, by Chromium's names of the levels."""

import json

from browser.etc import Etc
from browser.program import Browser
from stunwall.browsers.levels import CHOICES, Level, prefs

LEVELS = tuple(level.value for level in CHOICES)


def set_level(etc: Etc, browser: Browser, level: str) -> None:
    """Writes the managed policy."""
    if browser == "chromium":
        etc.write("chromium/policies/managed/level.json", json.dumps({"WebRtcIPHandling": level}))
    else:
        locked = {name: {"Value": value, "Status": "locked"} for name, value in prefs(Level(level)).items()}
        etc.write("firefox/policies/policies.json", json.dumps({"policies": {"Preferences": locked}}))
