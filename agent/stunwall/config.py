"""What a user can configure: the values, their defaults and their meaning. No I/O; configfile/ reads the files."""

import re
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from stunwall.model import GUARD_PORTS, Transport

Network = IPv4Network | IPv6Network

# The keys of [[allow]], in the order in which they are shown.
EXCEPTION_KEYS = (
    *("to", "port", "from", "source_port", "protocol", "user", "unit", "app", "interface", "until", "preset"),
    "why",
)
# What says nothing about packets: an exception needs another key.
NOTES = frozenset({"why", "until", "preset"})
# The fields of Allow that cannot have the name of their key, which is a word of Python's.
ALLOW_FIELDS = {"from": "source"}
# A running daemon cannot change these: its queue, folders and sockets were made with them.
FIXED_KEYS = ("queue", "mark_mask", "state_dir", "run_dir")

# Between quotes, nft takes anything for a name but a quote itself, and a star at the end makes a pattern of it. Linux
# allows both, but neither spaces nor slashes (net/core/dev.c, dev_valid_name).
_QUOTABLE = re.compile(r'[^"/\s\0]*[^"*/\s\0]', re.ASCII)
_INTERFACE_MAX = 15  # bytes: IFNAMSIZ less the final zero


class Mode(StrEnum):
    """What happens to STUN that would bypass the VPN."""

    BLOCK = "block"
    REDIRECT = "redirect"


class OnBlock(StrEnum):
    """Whether what is blocked is refused at once or dropped in silence."""

    ANSWER = "answer"
    DROP = "drop"


class WhenVpnDown(StrEnum):
    """What happens to STUN while no VPN is up."""

    BLOCK = "block"
    ALLOW = "allow"


class BoundTcp(StrEnum):
    """Whose TCP connections may not leave outside the VPN only because their sockets are bound there."""

    WEBRTC = "webrtc"
    ALL = "all"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Allow:
    """An exception that the user wrote. All keys that are given must match; `why` is required.

    `source`: the key `from`, the sender's address before source NAT. `user`: a user's number. `unit`: a systemd unit as
    `tailscaled.service`, or a cgroup's path from the root of the hierarchy; the last part may be a glob. `app`: the ID
    of a desktop application of `user`, as `org.mozilla.firefox`. `until`: when it ends, in Unix seconds.
    `preset`: the preset that it is of.
    """

    why: str
    to: Network | None = None
    port: int | None = None
    protocol: Transport | None = None
    user: int | None = None
    unit: str | None = None
    interface: str | None = None
    source: Network | None = None
    source_port: int | None = None
    app: str | None = None
    until: int | None = None
    preset: str | None = None

    @property
    def by_program(self) -> bool:
        """Whether it is about the programs of a unit or an application, which only their cgroup tells."""
        return self.unit is not None or self.app is not None

    def plain(self) -> dict[str, str | int]:
        """Return the exception as it stands in TOML and JSON: only the keys that were given."""
        values = {key: getattr(self, ALLOW_FIELDS.get(key, key)) for key in EXCEPTION_KEYS}
        return {
            key: value if isinstance(value, int) else str(value)
            for key, value in values.items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class Retention:
    """How long events are kept: days, and rows at most. `own_only`: users see their own alone, and root sees all."""

    keep_days: int = 90
    keep_rows: int = 1_000_000
    own_only: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a user can set; the meaning of each key is in README.md."""

    mode: Mode = Mode.BLOCK
    on_block: OnBlock = OnBlock.ANSWER
    when_vpn_down: WhenVpnDown = WhenVpnDown.BLOCK
    allow_lan: bool = False
    bound_tcp: BoundTcp = BoundTcp.WEBRTC
    webrtc_programs: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    bridged: frozenset[str] = frozenset()
    guard_ports: frozenset[int] = frozenset(GUARD_PORTS)
    leave_wall_on_stop: bool = False
    queue: int = 4780
    mark_mask: int = 0x90000000
    status_for_all: bool = False
    check_every_vpn_up: bool = False
    state_dir: Path = Path("/var/lib/stunwall")
    run_dir: Path = Path("/run/stunwall")
    log: Retention = field(default_factory=Retention)
    allow: tuple[Allow, ...] = ()

    @property
    def redirected_bit(self) -> int:
        """The bit of `mark_mask` that a redirected packet has."""
        return mark_bits(self.mark_mask)[0]

    @property
    def passed_bit(self) -> int:
        """The bit of `mark_mask` that STUN has that may bypass the VPN."""
        return mark_bits(self.mark_mask)[1]


def mark_bits(mask: int) -> tuple[int, int]:
    """Return the bits `redirected` and `passed` of a mask that has two: the lower and the higher one."""
    low = mask & -mask
    return low, mask ^ low


@lru_cache(4096)
def is_interface(name: str) -> bool:
    """Whether stunwall supports this interface name: it can stand in rules, and be printed as it is."""
    return is_quotable(name) and name.isprintable() and len(name.encode()) <= _INTERFACE_MAX


@lru_cache(4096)
def is_quotable(name: str) -> bool:
    """Whether this interface name can stand between quotes in nft statements."""
    return _QUOTABLE.fullmatch(name) is not None


def changed_keys(one: Config, other: Config) -> list[str]:
    """Return the keys whose values differ."""
    return [key.name for key in fields(Config) if getattr(one, key.name) != getattr(other, key.name)]
