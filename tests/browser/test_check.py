"""`stunwall check --browser` in real browsers: what its page says is what the wire shows."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socket import AF_INET, AF_INET6
from typing import Any

import pytest

from browser.etc import Etc
from browser.program import BROWSERS, Browser, running
from lab.addresses import CLIENT, FAMILIES, PHYSICAL, VPN
from lab.agent import CLI, Agent
from lab.leaks import SOURCE_RULE, VPN_DOWN
from lab.process import Process
from lab.topology import Lab
from lab.wire import Wire
from stunwall.check.verdict import Verdict
from stunwall.cli.check import EXIT_CODES

SECONDS = 60  # for a browser to start, and to gather four times


def checked(
    lab: Lab, agent: Agent, browser: Browser, microphone: bool = True, inside: Sequence[str] = ()
) -> dict[str, Any]:
    """What the command says once its page was opened in a browser; no STUN leaves outside the VPN meanwhile.

    `inside`: a command that starts the browser and ours.
    """
    command = [*inside, *agent.command(CLI), "check", "--browser", "--json"]
    with Wire(lab) as wire:
        process = Process(lab.client, *agent.environment, *command)
        try:
            process.wait_line("http://", SECONDS)
            (address,) = re.findall(r"http://\S+", process.output)
            last = "#microphone" if microphone else "#end"
            with running(lab.client, browser, address + last, microphone, inside=inside) as opened:
                try:
                    code = process.ended(SECONDS)
                except TimeoutError as late:
                    raise AssertionError(f"{late}: {process.output}\n{opened.output}") from late
        finally:
            process.kill()
        assert not wire.stun()
    said: dict[str, Any] = json.loads(process.lines[-1])
    assert code == EXIT_CODES[Verdict(said["verdict"])]
    print(json.dumps({**said, "stages": [{**each, "sdp": ""} for each in said["stages"]]}, indent=1))
    return said


def outcomes(said: dict[str, Any], microphone: bool) -> set[tuple[int, str, str]]:
    """IP version, interface and outcome of each row with a request."""
    (stage,) = (each for each in said["stages"] if each["microphone"] is microphone)
    assert not stage["failure"]
    rows = [row for row in stage["rows"] if row["outcome"] != "none"]
    return {(row["ip_version"], row["interface"], row["outcome"]) for row in rows}


@contextmanager
def without_ipv6_outside(lab: Lab) -> Iterator[None]:
    """The client has no IPv6 address that a browser could tell a page by itself."""
    lab.client.ip("addr del 2001:db8:1::2/64 dev phys0")
    try:
        yield
    finally:
        lab.client.ip("addr add 2001:db8:1::2/64 dev phys0 nodad\nroute replace ::/0 via 2001:db8:1::1")


@pytest.mark.parametrize("browser", BROWSERS)
def test_what_would_bypass_the_vpn_is_blocked_and_the_page_says_so(lab: Lab, browser: Browser) -> None:
    with SOURCE_RULE.made(lab, AF_INET), without_ipv6_outside(lab), Agent(lab) as agent:
        said = checked(lab, agent, browser)
    assert said["verdict"] == Verdict.SEALED
    assert said["headline"] == "A web page can't learn your real address"
    # What starts the browser in the lab grants the microphone from the beginning; Firefox waits until it is used.
    assert (4, VPN, "through") in outcomes(said, microphone=False)
    assert {(4, PHYSICAL, "blocked"), (4, VPN, "through")} <= outcomes(said, microphone=True)
    assert all(stage["complete"] for stage in said["stages"])
    errors = said["stages"][1]["errors"]
    assert any(error.startswith("400") for error in errors) is (browser == "firefox"), errors
    assert {"chromium": "Chrome", "firefox": "Firefox"}[browser] in said["browser"]
    assert said["browser_policy"].startswith(
        {"chromium": "Chromium", "firefox": "Firefox"}[browser] + " goes by default, as nothing is set."
    )


def test_redirect_mode_shows_what_is_moved(lab: Lab) -> None:
    with (
        SOURCE_RULE.made(lab, AF_INET),
        without_ipv6_outside(lab),
        Agent(lab, mode="redirect") as agent,
    ):
        said = checked(lab, agent, "chromium")
    assert said["verdict"] == Verdict.SEALED
    assert (4, VPN, "moved") in outcomes(said, microphone=True)


@pytest.mark.parametrize("browser", BROWSERS)
def test_an_address_that_the_browser_tells_by_itself_is_a_leak_until_its_policy_is_set(
    lab: Lab, browser: Browser, etc: Etc
) -> None:
    with SOURCE_RULE.made(lab, *FAMILIES), Agent(lab) as agent:
        before = checked(lab, agent, browser, inside=etc.command)
        etc.browsers("set", "default_public_interface_only", "--browser", browser)
        after = checked(lab, agent, browser, inside=etc.command)
    assert before["verdict"] == Verdict.LEAK
    assert before["headline"] == "A web page CAN see your real address"
    assert CLIENT[AF_INET6] in before["why"]
    assert after["headline"] == "Inconclusive: nothing in this browser tried to bypass the VPN"
    assert CLIENT[AF_INET6] not in json.dumps(after)
    assert " goes by default_public_interface_only, by " in after["browser_policy"]


def test_a_pause_is_a_leak_before_anything_leaves(lab: Lab) -> None:
    with VPN_DOWN.made(lab, AF_INET), Agent(lab) as agent:
        assert agent.cli("pause", "10m").returncode == 0
        said = checked(lab, agent, "chromium", microphone=False)
    assert said["verdict"] == Verdict.LEAK
    assert said["headline"] == "A web page CAN see your real address"
    assert (4, PHYSICAL, "leak") in outcomes(said, microphone=False)


def test_where_nothing_bypasses_the_vpn_it_proves_nothing(lab: Lab) -> None:
    lab.vpn.up(ipv6=True)
    with without_ipv6_outside(lab), Agent(lab) as agent:
        said = checked(lab, agent, "firefox")
    assert said["verdict"] == Verdict.INCONCLUSIVE
    assert said["headline"] == "Inconclusive: nothing in this browser tried to bypass the VPN"


def test_without_the_microphone_it_is_inconclusive(lab: Lab) -> None:
    with VPN_DOWN.made(lab, AF_INET), Agent(lab) as agent:
        said = checked(lab, agent, "firefox", microphone=False)
    assert said["verdict"] == Verdict.INCONCLUSIVE
    assert (4, PHYSICAL, "blocked") in outcomes(said, microphone=False)


def test_without_the_daemon_it_says_what_to_do(lab: Lab) -> None:
    agent = Agent(lab)
    done = agent.cli("check", "--browser")
    assert done.returncode == EXIT_CODES[Verdict.INCONCLUSIVE]
    assert done.stderr.startswith(
        "stunwall: the browser cannot be checked: stunwalld is not running: start it with `sudo systemctl start"
    )
    assert CLIENT[AF_INET] not in done.stdout
