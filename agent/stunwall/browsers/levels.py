"""The four levels of RFC 8828 §5.2 in the browsers' own words, and what a page learns at each. No I/O."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from stunwall.browsers.table import Engine

ICE = "media.peerconnection.ice."
ENABLED = "media.peerconnection.enabled"
# What a level means in Firefox, measured with ESR 153.
ADDRESS, NO_HOST, PROXY = f"{ICE}default_address_only", f"{ICE}no_host", f"{ICE}proxy_only"
RELAY, OBFUSCATE = f"{ICE}relay_only", f"{ICE}obfuscate_host_addresses"
PREFS = (ADDRESS, NO_HOST, PROXY)
ALL_PREFS = (ENABLED, *PREFS, RELAY, OBFUSCATE)


class Level(StrEnum):
    """What a browser shows of this machine's addresses. The first four can be set."""

    DEFAULT = "default"
    PUBLIC_AND_PRIVATE = "default_public_and_private_interfaces"
    PUBLIC_ONLY = "default_public_interface_only"
    PROXIED_ONLY = "disable_non_proxied_udp"
    # What only Firefox's preferences can say, or what is built in.
    NO_HOST = "every interface, without its own addresses"
    RAW = "the default route, without mDNS names"
    RELAY_ONLY = "relays only"
    OFF = "no WebRTC"


CHOICES = (Level.DEFAULT, Level.PUBLIC_AND_PRIVATE, Level.PUBLIC_ONLY, Level.PROXIED_ONLY)
RECOMMENDED = Level.PUBLIC_ONLY


class Learns(NamedTuple):
    """What a page can learn, without the microphone and once it may use it."""

    without: str
    microphone: str


_ROUTE = "the public address of the default route"
_OWN = f"{_ROUTE}, and this machine's own address there"
_ALL = "the addresses of every interface, and the public address behind each"
_NOTHING = "nothing"
_HIDDEN = f"{_ROUTE}; its own address is hidden by an mDNS name"

_LEARNS = {
    Level.DEFAULT: Learns(_HIDDEN, _ALL),
    Level.PUBLIC_ONLY: Learns(_ROUTE, _ROUTE),
    Level.PROXIED_ONLY: Learns(
        "nothing, or what a proxy for UDP shows", "nothing, or what a proxy for UDP shows"
    ),
    Level.NO_HOST: Learns(_ROUTE, "the public address behind every interface"),
    Level.RAW: Learns(_OWN, _ALL),
    Level.RELAY_ONLY: Learns("the addresses of its own relay", "the addresses of its own relay"),
    Level.OFF: Learns(_NOTHING, _NOTHING),
}


def learns(engine: Engine, level: Level) -> Learns:
    """Return what a page can learn. Measured with Chromium 156 and Firefox ESR 153, IPv4 and IPv6 alike."""
    if level is Level.PUBLIC_AND_PRIVATE:
        # Chromium gives up mDNS names at this level, so that a page learns more than by default.
        return Learns(_OWN if engine is Engine.CHROMIUM else _HIDDEN, _OWN)
    return _LEARNS[level]


def prefs(level: Level) -> dict[str, bool]:
    """Return what a level that can be set means in Firefox."""
    return {
        ADDRESS: level is not Level.DEFAULT,
        NO_HOST: level in (Level.PUBLIC_ONLY, Level.PROXIED_ONLY),
        PROXY: level is Level.PROXIED_ONLY,
    }


def of_prefs(values: Mapping[str, object]) -> Level:
    """Return the level that Firefox's preferences mean; those that are not there have their defaults."""
    wanted = [
        (values.get(ENABLED) is False, Level.OFF),
        (values.get(PROXY) is True, Level.PROXIED_ONLY),
        (values.get(RELAY) is True, Level.RELAY_ONLY),
        (values.get(ADDRESS) is True and values.get(NO_HOST) is True, Level.PUBLIC_ONLY),
        (values.get(NO_HOST) is True, Level.NO_HOST),
        (values.get(ADDRESS) is True, Level.PUBLIC_AND_PRIVATE),
        (values.get(OBFUSCATE) is False, Level.RAW),
    ]
    return next((level for holds, level in wanted if holds), Level.DEFAULT)
