"""The made-up servers of `stunwall check --browser`: what is sent to them never leaves, and stunwalld says where to."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from socket import AF_INET, AF_INET6
from typing import Any

import pytest

from lab.addresses import CLIENT, FAMILIES, NOBODY, PHYSICAL, VPN, family_name
from lab.agent import CLI, Agent
from lab.capture import Capture
from lab.deadline import until
from lab.leaks import SOURCE_RULE, VPN_DOWN
from lab.messages import COOKIE, REFUSED, binding_request, error_code, reflexive_address
from lab.observe import settled_events, status, wait_passes
from lab.probe import DEVICE_BOUND, SOURCE_BOUND, UNBOUND, Binding, ask, connect, send
from lab.process import Process
from lab.topology import Lab
from lab.wire import Wire
from lab.wireguard import SERVER_INTERFACE
from stunwall.control.client import Check
from stunwall.control.protocol import ControlError

BINDINGS = {"unbound": UNBOUND, "device": DEVICE_BOUND}
SILENCE = 0.3  # seconds for an answer that must not come


class Tunnelled(Capture):
    """The STUN that comes out of the VPN, at its server's end."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.server, SERVER_INTERFACE)
        self.frames: list[bytes] = []

    def take(self, frame: bytes, outgoing: bool) -> None:
        self.frames.append(frame)


@dataclass(slots=True)
class Armed:
    """A check that goes on."""

    lab: Lab
    check: Check

    def server(self, family: int, as_usual: bool = False) -> tuple[str, int]:
        version = 6 if family == AF_INET6 else 4
        (server,) = (
            each
            for each in self.check.reply["servers"]
            if (each["ip_version"], each["as_usual"]) == (version, as_usual)
        )
        return server["address"], server["port"]

    def ask(
        self, family: int, binding: Binding = UNBOUND, as_usual: bool = False, seconds: float = 5
    ) -> bytes | None:
        return ask(
            self.lab.client, self.server(family, as_usual), binding_request(), binding, seconds=seconds
        )

    def seen(self) -> dict[str, Any]:
        """The only report that there is."""
        (found,) = self.check.seen()
        return found


@contextmanager
def armed(lab: Lab, agent: Agent) -> Iterator[Armed]:
    with closing(Check(agent.folder / "run")) as check:
        yield Armed(lab, check)


@contextmanager
def nothing_leaves(lab: Lab) -> Iterator[None]:
    """Whatever is sent meanwhile to made-up servers leaves neither outside the VPN nor through it."""
    with Tunnelled(lab) as tunnelled, Wire(lab) as wire:
        yield
        assert not wire.stun()
    assert not [frame for frame in tunnelled.frames if COOKIE in frame]


def elements(lab: Lab) -> str:
    listed = [
        lab.client.printed("nft", "list", "set", "inet", "stunwall", name)
        for name in ("checked4", "checked6")
    ]
    assert all("set checked" in each for each in listed)
    return "".join(each for each in listed if "elements" in each)


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_without_an_armed_check_such_a_request_leaves(lab: Lab, vpn: None, family: int) -> None:
    """The half that shows that the wires would show it: into the VPN with stunwall, outside without it."""
    with Agent(lab) as agent:
        wait_passes(lab, family)
        with armed(lab, agent) as check:
            server = check.server(family)
        with Tunnelled(lab) as tunnelled:
            until(lambda: _sent(lab, server, UNBOUND, tunnelled), 5, "a request in the VPN")
    with Wire(lab) as wire:
        ask(lab.client, server, binding_request(), DEVICE_BOUND, seconds=SILENCE)
        assert wire.stun()


def _sent(lab: Lab, server: tuple[str, int], binding: Binding, tunnelled: Tunnelled) -> bool:
    ask(lab.client, server, binding_request(), binding, seconds=SILENCE)
    return any(COOKIE in frame for frame in tunnelled.frames)


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_each_interface_has_an_address_of_its_own_and_nothing_leaves(
    lab: Lab, vpn: None, family: int
) -> None:
    with Agent(lab) as agent:
        wait_passes(lab, family)
        with armed(lab, agent) as check, nothing_leaves(lab):
            found = {}
            for interface, binding, verdict, reason in (
                (VPN, UNBOUND, "accepted", "through-vpn"),
                (PHYSICAL, DEVICE_BOUND, "blocked", "outside-vpn"),
            ):
                address = reflexive_address(check.ask(family, binding))
                said = check.seen()
                assert (said["interface"], said["verdict"], said["reason"]) == (interface, verdict, reason)
                assert said["label"] == address
                found[interface] = address
            assert error_code(check.ask(family, DEVICE_BOUND, as_usual=True)) == REFUSED
            assert reflexive_address(check.ask(family, UNBOUND, as_usual=True)) == found[VPN]
        assert len(set(found.values())) == 2
        assert CLIENT[family] not in found.values()
        assert not settled_events(lab, agent)
        assert status(agent)["state"] == "protected"


@pytest.mark.parametrize("family", FAMILIES, ids=family_name)
def test_in_redirect_mode_it_says_what_would_be_moved(lab: Lab, family: int) -> None:
    bound = SOURCE_BOUND[family]
    with SOURCE_RULE.made(lab, *FAMILIES), Agent(lab, mode="redirect") as agent:
        wait_passes(lab, family)
        with armed(lab, agent) as check, nothing_leaves(lab):
            assert reflexive_address(check.ask(family, bound))
            said = check.seen()
            assert (said["interface"], said["verdict"]) == (VPN, "redirected")
            assert said["source"] == CLIENT[family]
            check.ask(family, DEVICE_BOUND)
            said = check.seen()
            assert (said["interface"], said["reason"]) == (PHYSICAL, "device-bound")
        assert not settled_events(lab, agent)


@pytest.mark.parametrize("mode", ["block", "redirect"])
def test_what_an_exception_or_a_pause_would_let_out_is_told_and_stays(lab: Lab, vpn: None, mode: str) -> None:
    with Agent(lab, mode=mode) as agent:
        for command in (("pause", "30m"), ("allow", "add", "--to", "2000::/3", "--why", "a test")):
            assert agent.cli(*command).returncode == 0
            family = AF_INET if command[0] == "pause" else AF_INET6
            with armed(lab, agent) as check, nothing_leaves(lab):
                assert reflexive_address(check.ask(family, DEVICE_BOUND))
                said = check.seen()
                assert (said["interface"], said["verdict"], said["reason"]) == (
                    PHYSICAL,
                    "accepted",
                    "exception",
                )
                assert reflexive_address(check.ask(family, UNBOUND))
                assert check.seen()["reason"] == "through-vpn"
            assert agent.cli("resume").returncode == 0


def test_without_a_vpn_it_says_what_when_vpn_down_makes_of_it(lab: Lab) -> None:
    with VPN_DOWN.made(lab, *FAMILIES):
        for allowed, reason in (("block", "no-vpn"), ("allow", "vpn-down-allowed")):
            with Agent(lab, when_vpn_down=allowed) as agent, armed(lab, agent) as check, nothing_leaves(lab):
                check.ask(AF_INET)
                assert check.seen()["reason"] == reason


def test_a_daemon_that_is_killed_lets_nothing_out_and_the_time_ends_it(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent:
        wait_passes(lab)
        with armed(lab, agent) as check:
            agent.kill()
            with nothing_leaves(lab):
                for family in FAMILIES:
                    for binding in BINDINGS.values():
                        assert check.ask(family, binding, seconds=SILENCE) is None
            assert "expires" in elements(lab)
            with pytest.raises(ControlError):
                check.check.seen()


def test_the_kernel_ends_it(lab: Lab, vpn: None) -> None:
    """As with a daemon that has died: nobody takes the element out."""
    with Agent(lab) as agent:
        agent.kill()
        lab.client.nft("add element inet stunwall checked4 { 203.0.113.77 . 40000 timeout 1s }")
        assert "203.0.113.77 . 40000" in elements(lab)
        until(lambda: not elements(lab), 15, "the end of the check")
        wait_passes(lab)


def test_flushed_rules_let_nothing_out_and_it_goes_on(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent:
        wait_passes(lab)
        with armed(lab, agent) as check, nothing_leaves(lab):
            lab.client.nft("flush ruleset")
            lab.masquerade_box()
            check.ask(AF_INET, DEVICE_BOUND, seconds=SILENCE)
            until(lambda: bool(elements(lab)), 10, "the check in the repaired wall")
            check.check.seen()
            for binding in BINDINGS.values():
                assert reflexive_address(check.ask(AF_INET, binding))
            assert [each["interface"] for each in check.check.seen()] == [VPN, PHYSICAL]


def test_hanging_up_ends_it_at_once(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent:
        with armed(lab, agent):
            assert elements(lab).count("expires") == 4
        until(lambda: not elements(lab), 5, "the end of the check")


def test_one_check_a_user(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent, armed(lab, agent):
        with pytest.raises(ControlError, match="you are checking a browser already"):
            Check(agent.folder / "run")
        assert elements(lab).count("expires") == 4


HOLD = """
import json, sys, pathlib
from stunwall.control.client import Check
check = Check(pathlib.Path(sys.argv[1]))
print(json.dumps(check.reply), flush=True)
while True:
    print(json.dumps(check.receive()), flush=True)
"""


def test_only_the_user_who_checks_gets_an_answer(lab: Lab, vpn: None) -> None:
    with Agent(lab, status_for_all=True) as agent:
        wait_passes(lab)
        given = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        python = [*agent.environment, sys.executable, "-c", HOLD, str(agent.folder / "run")]
        agent.folder.chmod(0o755)
        process = Process(lab.client, *given, *python)
        try:
            process.wait_line("servers", 15)
            (server, *_) = json.loads(process.lines[0])["servers"]
            asked = server["address"], server["port"]
            with nothing_leaves(lab):
                for binding in BINDINGS.values():
                    mine = replace(binding, owner=NOBODY)
                    assert reflexive_address(ask(lab.client, asked, binding_request(), mine))
                    assert ask(lab.client, asked, binding_request(), binding, seconds=SILENCE) is None
                    assert ask(lab.box, asked, binding_request(), seconds=SILENCE) is None
            until(lambda: len(process.lines) == 3, 5, "two reports")
        finally:
            process.kill()
        assert not settled_events(lab, agent)


def test_ctrl_c_ends_the_page_and_says_what_was_shown(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent:
        process = Process(lab.client, *agent.environment, *agent.command(CLI), "check", "--browser")
        process.wait_line("This ends when the page is done, or with Ctrl-C.", 15)
        os.kill(process.pid, signal.SIGINT)
        assert process.ended(10) == 5
        assert "INCONCLUSIVE: nothing was tested" in process.output
        assert "No browser has opened the page." in process.output
        until(lambda: not elements(lab), 5, "the made-up servers to go")


def test_a_flood_to_a_made_up_server_is_limited_as_any_other(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent, armed(lab, agent) as check, nothing_leaves(lab):
        found: list[dict[str, Any]] = []

        def reported() -> bool:
            found.extend(check.check.seen())
            return lab.queues_empty() and bool(found)

        # Open until all are answered: about an answer to a closed socket, the kernel sends an ICMP error into the VPN.
        with connect(lab.client, check.server(AF_INET)) as sock:
            for _ in range(200):
                send(sock, binding_request())
            until(reported, 5, "reports")
        assert len(found) <= 100
