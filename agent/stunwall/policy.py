"""The decision about one packet: a ladder of rules, the most specific first."""

from dataclasses import dataclass

from stunwall import stun
from stunwall.config import Config, OnBlock, WhenVpnDown
from stunwall.detect import Detection
from stunwall.model import Decision, Reason, Verdict


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a packet's way: its outgoing interface, and which interfaces are the VPN."""

    interface: str
    vpn: frozenset[str]


def decide(detection: Detection | None, view: View, config: Config) -> Decision:
    """Return what becomes of a packet that the wall sent to the door; never 'accept' for want of knowledge.

    The order matters: a packet is judged by its outgoing interface before any exception is looked at, and
    'no VPN is up' only counts once no other rule let it pass.
    """
    if detection is None:
        # Only look-alikes of classic STUN get here: the wall cannot read attributes.
        return Decision(Verdict.ACCEPT, Reason.NOT_STUN)
    if view.interface in view.vpn:
        # The VPN came up between the wall's look at its set and ours.
        return Decision(Verdict.ACCEPT, Reason.THROUGH_VPN)
    if any(rule.matches(detection.datagram, view.interface) for rule in config.allow):
        return Decision(Verdict.ACCEPT, Reason.ALLOWED)
    if not view.vpn and config.when_vpn_down is WhenVpnDown.ALLOW:
        return Decision(Verdict.ACCEPT, Reason.VPN_DOWN_ALLOWED)
    reason = Reason.OUTSIDE_VPN if view.vpn else Reason.NO_VPN
    return Decision(Verdict.BLOCK, reason, _answer(detection, config))


def _answer(detection: Detection, config: Config) -> bytes | None:
    if config.on_block is OnBlock.DROP or detection.message is None:
        return None
    return stun.refusal(detection.stun)
