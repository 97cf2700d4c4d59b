"""What each recorded reason means and what to do: the one table behind man page, catalog and `show`. No I/O."""

from dataclasses import dataclass
from textwrap import fill
from uuid import UUID, uuid5

from stunwall.model import GAP, LEAK, Event, Reason

# Chosen at random. The IDs that are derived from it never change, so journalctl finds old entries by them.
_NAMESPACE = UUID("5b9d3f0e-6d8c-4c0f-9a53-0c1d8f0e7a41")

_HEAD = """\
# Made from the table in agent/stunwall/reasons.py, with that folder in PYTHONPATH:
# python3 -c 'from stunwall import reasons; print(reasons.catalog(), end="")'
"""
_WIDTH = 80  # columns of the catalog
# What a catalog's entry says of the packet: journalctl puts the entry's fields in.
_PACKET = """
From:      @STUNWALL_SOURCE@, port @STUNWALL_SOURCE_PORT@
To:        @STUNWALL_DESTINATION@, port @STUNWALL_DESTINATION_PORT@
Interface: @STUNWALL_INTERFACE@
User:      @STUNWALL_USER@
Unit:      @STUNWALL_UNIT@
"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A reason, or the verdict of an event about no packet, explained.

    `code`: its name in the JSON; `title`: it in a few words; `meaning` and `advice`: sentences.
    """

    code: str
    title: str
    meaning: str
    advice: str

    @property
    def message_id(self) -> str:
        """The MESSAGE_ID of its journal entries: 32 hexadecimal digits (systemd.journal-fields(7))."""
        return uuid5(_NAMESPACE, self.code).hex


def explanation(event: Event) -> Explanation | None:
    """Return the explanation of an event, None if it is of a kind that this version does not know."""
    return _EXPLANATIONS.get(event.reason) or _EXPLANATIONS.get(event.verdict)


def sentence(event: Event) -> str:
    """Return the reason of an event in a sentence, which an event about no packet has already."""
    return Reason(event.reason).sentence if event.reason in list(Reason) else event.reason


def _of(reason: Reason, meaning: str, advice: str) -> Explanation:
    return Explanation(reason.value, reason.sentence, meaning, advice)


EXPLANATIONS = (
    _of(
        Reason.OUTSIDE_VPN,
        "A program sent STUN, which asks a server for this machine's public address, by an interface that is not the "
        "VPN. The packet was dropped, so the server has not seen the address.",
        "`stunwall explain ID` names the rule or route that led it there. To let the program do this, see "
        "`stunwall allow --help`.",
    ),
    _of(
        Reason.NO_VPN,
        "While no VPN is up, all STUN is blocked.",
        "Connect the VPN. If it is connected, `stunwall vpn` says why its interface does not count.",
    ),
    _of(
        Reason.UNASKED,
        "Anyone can send such a packet. It was dropped.",
        "There is nothing to do.",
    ),
    _of(
        Reason.UNREADABLE,
        "What a receiver would make of it is uncertain, so it was dropped.",
        "If it comes from a program that you trust, report it with the output of `stunwall show ID`.",
    ),
    _of(
        Reason.EXPOSED,
        "That server has seen this machine's real address. The program that asked has not learned it.",
        "This cannot be undone. Close the page or program that asked, and get a new address from your provider if it "
        "matters.",
    ),
    _of(
        Reason.REDIRECTED,
        "The server has seen the VPN's address, and the call goes on.",
        "There is nothing to do.",
    ),
    _of(
        Reason.VPN_DOWN_ALLOWED,
        "The packet left, and the server has seen this machine's real address.",
        'To block STUN while no VPN is up, set when_vpn_down = "block".',
    ),
    _of(
        Reason.DEVICE_BOUND,
        "The kernel does not route packets of such a socket again, so the packet was blocked.",
        "Configure the program to use no particular interface, or the VPN's.",
    ),
    _of(
        Reason.NO_FAMILY,
        "It could not be redirected, so it was blocked.",
        "Programs try the other IP version by themselves. For calls over this one, the VPN has to carry it.",
    ),
    _of(
        Reason.TCP,
        "An established connection cannot be moved into the VPN, so the packet was blocked.",
        "Reload the page or restart the program: it then connects again.",
    ),
    _of(
        Reason.KNOWN_FLOW,
        "Only a new flow can be moved into the VPN, so the packet was blocked.",
        "Reload the page or restart the program: it then starts a new flow.",
    ),
    _of(
        Reason.BOUND,
        "The connection was refused, so the server has not seen the address.",
        'Pages connect again without the binding. With mode = "redirect" the connection goes through the VPN.',
    ),
    _of(
        Reason.FORWARDED,
        "Only packets of this machine can be moved into the VPN, so the packet was blocked.",
        "Route the container, VM or LAN client through the VPN, or run a VPN inside it.",
    ),
    Explanation(
        GAP,
        "the wall was not intact",
        "Another program removed or changed stunwall's rules, and stunwalld put them back. Unless the second lock "
        "held, STUN could leave by any interface in between.",
        "The entry names the program. `stunwall doctor` says how to keep it from doing so again.",
    ),
    Explanation(
        LEAK,
        "a check has seen STUN outside the VPN",
        "`stunwall check`, run by root or by stunwall's own service, sent STUN that left outside the VPN. Until a "
        "later check is sealed, `stunwall status` says LEAKING.",
        "`sudo stunwall check` names the way it took. If one of your exceptions lets it out, narrow that exception "
        "(`stunwall allow list`).",
    ),
    Explanation(
        "allowed",
        "an exception was added",
        "Packets that match it can leave by any interface, until it ends or is removed.",
        "`stunwall allow list` shows the exceptions, and `stunwall allow remove` removes one.",
    ),
    Explanation(
        "revoked",
        "an exception was removed",
        "Packets that only it let out are blocked or redirected again.",
        "`stunwall allow list` shows the exceptions that are left.",
    ),
    Explanation(
        "reloaded",
        "the configuration was changed",
        "stunwalld read its configuration files again, and these settings are now different.",
        "`stunwall config check` shows the values.",
    ),
    Explanation(
        "paused",
        "a pause began",
        "Until the pause ends, STUN can leave by any interface.",
        "`stunwall resume` ends it.",
    ),
    Explanation(
        "resumed",
        "a pause ended",
        "STUN outside the VPN is blocked or redirected again.",
        "There is nothing to do.",
    ),
)
_EXPLANATIONS = {each.code: each for each in EXPLANATIONS}


def catalog() -> str:
    """Return the catalog by which `journalctl -x` explains entries (https://systemd.io/CATALOG/)."""
    return _HEAD + "".join(map(_entry, EXPLANATIONS))


def _entry(each: Explanation) -> str:
    about_packet = each.code in list(Reason)
    return f"""
-- {each.message_id}
Subject: {f"STUN @STUNWALL_VERDICT@: {each.title}" if about_packet else f"stunwall: {each.title}"}
Defined-By: stunwall
Documentation: man:stunwall(1)

{fill(each.meaning, _WIDTH)}

{fill(each.advice, _WIDTH)}
{_PACKET if about_packet else ""}"""
