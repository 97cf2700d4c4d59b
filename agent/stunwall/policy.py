"""The decision about one packet: a ladder of rules, the most specific first."""

from dataclasses import dataclass

from stunwall.config import Config, Mode, OnBlock, WhenVpnDown
from stunwall.model import Decision, Hook, Reason, Transport, Verdict
from stunwall.stun import message
from stunwall.stun.detect import Detection


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a packet's way.

    Its hook and outgoing interface; whether it carries the redirect mark, and whether it is forwarded; which
    interfaces are the VPN, and the IP versions (4, 6) that the VPN carries.
    """

    hook: Hook
    interface: str
    marked: bool
    forwarded: bool
    vpn: frozenset[str]
    families: frozenset[int]


def decide(detection: Detection | None, view: View, config: Config) -> Decision:
    """Return what becomes of a packet that the wall queued; never 'accept' for want of knowledge.

    The order matters: at the output hook the interface may change yet, so nothing is let out or blocked there;
    after that a packet is judged by its interface first, and 'no VPN is up' only counts for what is left.
    """
    if detection is None:
        # Only look-alikes of classic STUN get here: the wall cannot read attributes.
        return Decision(Verdict.ACCEPT, Reason.NOT_STUN)
    if view.hook is Hook.OUTPUT:
        if config.mode is Mode.REDIRECT and detection.datagram.family in view.families:
            return Decision(Verdict.REDIRECT, Reason.REDIRECTED)
        return Decision(Verdict.ACCEPT, Reason.WALL_DECIDES)
    if view.interface in view.vpn:
        # The VPN came up between the wall's look at its set and ours.
        return Decision(Verdict.ACCEPT, Reason.THROUGH_VPN)
    if not view.vpn and config.when_vpn_down is WhenVpnDown.ALLOW:
        return Decision(Verdict.ACCEPT, Reason.VPN_DOWN_ALLOWED)
    return Decision(Verdict.BLOCK, _why(detection, view, config), _answer(detection, config))


def _why(detection: Detection, view: View, config: Config) -> Reason:
    """Return why a packet outside the VPN was not redirected, the plainest reason first."""
    if not view.vpn:
        return Reason.NO_VPN
    if config.mode is Mode.BLOCK:
        return Reason.OUTSIDE_VPN
    if view.marked:
        return Reason.DEVICE_BOUND
    if view.forwarded:
        return Reason.FORWARDED
    if detection.datagram.family not in view.families:
        return Reason.NO_FAMILY
    if detection.datagram.transport is Transport.TCP:
        return Reason.TCP
    return Reason.KNOWN_FLOW


def _answer(detection: Detection, config: Config) -> bytes | None:
    if config.on_block is OnBlock.DROP or detection.message is None:
        return None
    return message.refusal(detection.stun)
