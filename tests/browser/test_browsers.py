"""What a page in a real browser learns: the real address without stunwall, the VPN's with it."""

import os
from pathlib import Path
from socket import AF_INET, AF_INET6

import pytest

from browser.gather import Gathered, gather
from browser.program import BROWSERS, Browser
from lab.addresses import COTURN, FAMILIES, NOBODY, REAL, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.agent import Agent
from lab.cgroups import Cgroups
from lab.coturn import PASSWORD, USER
from lab.leaks import IPV6_OUTSIDE, SOURCE_RULE, VPN_DOWN, Leak
from lab.messages import binding_request
from lab.observe import NO_LEAK, events, wait_event
from lab.probe import Binding, ask
from lab.topology import Lab
from lab.wire import Wire

# Their programs' file, the cgroup in which a desktop starts them, and the application that this means.
PROGRAMS = {
    "chromium": ("chromium", "app-gnome-chromium-4069.scope", "chromium"),
    "firefox": ("firefox-esr", r"app-gnome-firefox\x2desr-4070.scope", "firefox-esr"),
}
# Seconds that a page waits for its candidates: browsers have them in less than one, or give up after 11 or 40.
PATIENCE = 6
SESSION = "user.slice/user-0.slice/user@0.service/app.slice"


def everything(gathered: Gathered) -> set[str]:
    """Every address in a candidate, related addresses included."""
    related = {candidate.related_address for candidate in gathered.all if candidate.related_address}
    return {candidate.address for candidate in gathered.all} | related


@pytest.mark.parametrize("browser", BROWSERS)
def test_stun_shows_a_page_in_a_call_only_the_vpns_address(lab: Lab, browser: Browser) -> None:
    """With the microphone the browser uses every interface, and a routing rule keeps one outside the VPN."""
    with SOURCE_RULE.made(lab, *FAMILIES):
        with Wire(lab) as wire:
            free = gather(lab, browser)
            assert REAL[AF_INET] in free.addresses("srflx"), NO_LEAK
            # RFC 8445 §5.1.3: a server-reflexive candidate that equals a host candidate is left out.
            assert REAL[AF_INET6] in free.addresses("srflx") | free.addresses("host")
            assert wire.stun()
        with Agent(lab, on_block="drop"):
            dropped = gather_sealed(lab, browser)
        with Agent(lab):
            answered = gather_sealed(lab, browser)
    print(
        f"{browser} gathered for {free.milliseconds:.0f} ms without stunwall, "
        f"{answered.milliseconds:.0f} ms with answers"
    )
    assert answered.complete
    assert not dropped.complete


def gather_sealed(lab: Lab, browser: Browser) -> Gathered:
    """Gathers, and checks that page and wire don't show the real addresses and that the page shows the VPN's."""
    with Wire(lab) as wire:
        gathered = gather(lab, browser, patience=PATIENCE)
        assert not wire.stun()
    reflexive = gathered.addresses("srflx")
    assert not reflexive & set(REAL.values())
    assert REAL[AF_INET] not in everything(gathered)
    assert reflexive == set(VPN_SERVER.values())
    return gathered


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_page_does_not_wait_for_a_relay_and_sees_what_a_wrong_password_shows(
    lab: Lab, browser: Browser
) -> None:
    """Of STUN, Chromium shows a page no error at all."""
    stun = {"urls": f"stun:{STUN_SERVER[AF_INET]}:{STUN_PORT}"}
    turn = {"urls": f"turn:{STUN_SERVER[AF_INET]}:{STUN_PORT}?transport=udp", "username": USER}
    with VPN_DOWN.made(lab):
        real = gather(lab, browser, False, [turn | {"credential": "wrong"}], patience=PATIENCE)
        with Agent(lab):
            relay = gather(lab, browser, False, [turn | {"credential": PASSWORD}], patience=PATIENCE)
            other = gather(lab, browser, False, [stun], patience=PATIENCE)
    assert real.complete
    assert relay.complete
    assert other.complete
    assert [error.split()[0] for error in real.errors] == ["401"]
    assert relay.errors == real.errors
    assert [error.split()[0] for error in other.errors] == ([] if browser == "chromium" else ["400"])


@pytest.mark.parametrize(
    ("browser", "leak", "family"),
    [
        pytest.param("chromium", IPV6_OUTSIDE, AF_INET6, id="chromium-ipv6_outside"),
        pytest.param("chromium", VPN_DOWN, AF_INET, id="chromium-vpn_down"),
        # Firefox looks at one default route only, and never at an IPv6 one while the VPN carries IPv4.
        pytest.param("firefox", VPN_DOWN, AF_INET, id="firefox-vpn_down"),
    ],
)
def test_page_without_the_microphone_never_learns_the_real_address(
    lab: Lab, browser: Browser, leak: Leak, family: int
) -> None:
    """Its host candidates are mDNS names, so that STUN is its only way to learn an address, IPv6 included."""
    with leak.made(lab, *FAMILIES):
        assert REAL[family] in everything(gather(lab, browser, microphone=False)), NO_LEAK
        with Agent(lab), Wire(lab) as wire:
            gathered = gather(lab, browser, microphone=False)
            assert not wire.stun()
        assert not everything(gathered) & set(REAL.values())


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_page_that_opens_hundreds_of_connections_fills_few_rows_and_hides_nobody_else(
    lab: Lab, cgroups: Cgroups, browser: Browser
) -> None:
    executable, scope, app = PROGRAMS[browser]
    with VPN_DOWN.made(lab, *FAMILIES):
        assert REAL[AF_INET] in everything(gather(lab, browser, microphone=False)), NO_LEAK
        with Agent(lab) as agent, Wire(lab) as wire:
            with cgroups.inside(f"{SESSION}/{scope}"):
                gather(lab, browser, microphone=False, others=300)
            # Another user's program, behind all that the page sent.
            ask(lab.client, COTURN[AF_INET], binding_request(), Binding(owner=NOBODY))
            other = wait_event(agent, uid=NOBODY)
            rows = [event for event in events(agent) if event["uid"] == os.getuid()]
            assert not wire.stun()
    assert other["count"] == 1
    flows, packets = (sum(event[field] for event in rows) for field in ("flows", "count"))
    print(f"{browser}: {flows} flows, {packets} packets in {len(rows)} rows")
    assert flows > 200
    assert len(rows) <= 150
    assert any(event["flows"] > 1 for event in rows)
    # Who it was is known of each, as also of a flow that stands for others of the same program.
    assert {(event["user"], event["app"]) for event in rows} == {("root", app)}
    assert {Path(event["executable"]).name for event in rows} == {executable}
    assert all(event["pid"] and executable in event["command"] for event in rows)
