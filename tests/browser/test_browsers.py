"""What a page in a real browser learns: the real address without stunwall, the VPN's with it."""

from socket import AF_INET, AF_INET6

import pytest

from browser.gather import Browser, Gathered, gather
from lab.addresses import FAMILIES, REAL, VPN_SERVER
from lab.agent import Agent
from lab.leaks import IPV6_OUTSIDE, SOURCE_RULE, VPN_DOWN, Leak
from lab.topology import Lab
from lab.wire import Wire

BROWSERS: tuple[Browser, ...] = ("chromium", "firefox")


def everything(gathered: Gathered) -> set[str]:
    """Every address in a candidate, the related ones too."""
    related = {candidate.related_address for candidate in gathered.candidates if candidate.related_address}
    return {candidate.address for candidate in gathered.candidates} | related


@pytest.mark.parametrize("browser", BROWSERS)
def test_call_outside_the_vpn(lab: Lab, browser: Browser) -> None:
    """A page with the microphone, which looks at every interface, where a rule keeps one outside the VPN."""
    with SOURCE_RULE.made(lab, *FAMILIES):
        with Wire(lab) as wire:
            free = gather(lab, browser)
            assert REAL[AF_INET] in free.addresses("srflx"), (
                "the leak isn't there, so it proves nothing below"
            )
            # A server-reflexive candidate like a host candidate is left out: RFC 8445 §5.1.3.
            assert REAL[AF_INET6] in free.addresses("srflx") | free.addresses("host")
            assert wire.stun()
        with Agent(lab, on_block="drop"):
            dropped = gather_sealed(lab, browser)
        with Agent(lab):
            answered = gather_sealed(lab, browser)
    print(f"{browser}: {free.milliseconds:.0f} ms free, {dropped.milliseconds:.0f} ms with drop, "
          f"{answered.milliseconds:.0f} ms with answer")  # fmt: skip
    assert answered.milliseconds < dropped.milliseconds / 4


def gather_sealed(lab: Lab, browser: Browser) -> Gathered:
    """Gathers, and checks that neither page nor wire show the real addresses, and the page the VPN's."""
    with Wire(lab) as wire:
        gathered = gather(lab, browser)
        assert not wire.stun()
    reflexive = gathered.addresses("srflx")
    assert not reflexive & set(REAL.values())
    assert REAL[AF_INET] not in everything(gathered)
    assert reflexive == set(VPN_SERVER.values())
    return gathered


@pytest.mark.parametrize(
    ("browser", "leak", "family"),
    [
        pytest.param("chromium", IPV6_OUTSIDE, AF_INET6, id="chromium-ipv6_outside"),
        pytest.param("chromium", VPN_DOWN, AF_INET, id="chromium-vpn_down"),
        # Firefox looks at one default route alone, and with an IPv4 VPN at no IPv6 one.
        pytest.param("firefox", VPN_DOWN, AF_INET, id="firefox-vpn_down"),
    ],
)
def test_any_page_without_the_microphone(lab: Lab, browser: Browser, leak: Leak, family: int) -> None:
    """Its host candidates are mDNS names, so STUN is its only way to an address, the IPv6 one too."""
    with leak.made(lab, *FAMILIES):
        assert REAL[family] in everything(gather(lab, browser, microphone=False))
        with Agent(lab), Wire(lab) as wire:
            gathered = gather(lab, browser, microphone=False)
            assert not wire.stun()
        assert not everything(gathered) & set(REAL.values())
