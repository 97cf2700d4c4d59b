"""`stunwall check --server`: what it says that a real server saw is what the wire shows."""

import json
import threading
from contextlib import ExitStack, suppress
from socket import AF_INET, AF_INET6, SOCK_DGRAM, socket
from typing import Any

import pytest

from lab.addresses import CLIENT, FAMILIES, NOBODY, REAL, STUN_SERVER, VPN_SERVER
from lab.agent import CLI, Agent
from lab.leaks import SOURCE_RULE, VPN_DOWN, Leak
from lab.messages import ERROR_CODE, attribute, message, transaction_of
from lab.topology import Lab
from lab.wire import Wire
from stunwall.check.verdict import Verdict
from stunwall.cli.check import EXIT_CODES

NAMED = {family: f"stun:{f'[{host}]' if ':' in host else host}" for family, host in STUN_SERVER.items()}


def asked(lab: Lab, agent: Agent, family: int) -> tuple[dict[str, Any], int]:
    """What the command says, run by a user without rights, and how much STUN left outside the VPN."""
    given = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    command = [*agent.environment, *agent.command(CLI)[:3], "check", "--json", "--server", NAMED[family]]
    with Wire(lab) as wire:
        done = lab.client.run(*given, *command)
        assert done.stdout, done.stderr
        stun = wire.stun()
    said = json.loads(done.stdout)
    assert done.returncode == EXIT_CODES[Verdict(said["verdict"])]
    assert done.stderr.startswith("Asking ")
    return said, len(stun)


def verdicts(said: dict[str, Any], *, into_vpn: bool) -> set[str]:
    ways = [way for way in said["ways"] if way["into_vpn"] is into_vpn]
    return {each["verdict"] for way in ways for each in way["shown"]} - {Verdict.NOT_SENT.value}


def seen(said: dict[str, Any], *, into_vpn: bool) -> set[str]:
    return {way["seen"] for way in said["ways"] if way["into_vpn"] is into_vpn} - {""}


@pytest.mark.parametrize("family", FAMILIES, ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("leak", [SOURCE_RULE, VPN_DOWN], ids=lambda leak: leak.name)
def test_without_stunwall_the_server_sees_the_real_address_and_with_it_the_vpns(
    lab: Lab, leak: Leak, family: int
) -> None:
    with leak.made(lab, family):
        free, leaked = asked(lab, Agent(lab), family)
        with Agent(lab) as agent:
            kept, left = asked(lab, agent, family)
    assert leaked
    assert free["verdict"] == Verdict.LEAK
    assert seen(free, into_vpn=False) == {REAL[family]}
    assert left == 0
    assert kept["verdict"] == Verdict.SEALED
    assert verdicts(kept, into_vpn=False) == {Verdict.SEALED}
    assert not seen(kept, into_vpn=False)
    if leak is SOURCE_RULE:
        assert seen(kept, into_vpn=True) == {VPN_SERVER[family]}
        assert verdicts(kept, into_vpn=True) == {Verdict.THROUGH}


def test_in_redirect_mode_it_says_what_was_moved(lab: Lab) -> None:
    with SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect") as agent:
        said, left = asked(lab, agent, AF_INET)
    assert left == 0
    assert said["verdict"] == Verdict.SEALED
    (bound,) = (way for way in said["ways"] if way["source"] == CLIENT[AF_INET])
    assert bound["seen"] == VPN_SERVER[AF_INET]
    assert "moved into the VPN" in bound["shown"][0]["why"]


def test_a_server_that_does_not_answer_shows_nothing(lab: Lab) -> None:
    with ExitStack() as stack:
        stack.enter_context(SOURCE_RULE.made(lab, AF_INET6))
        chain = "chain input { type filter hook input priority filter; udp dport 3478 drop; }"
        stack.enter_context(lab.stun.table("inet lab_mute", chain))
        said, _ = asked(lab, Agent(lab), AF_INET6)
        assert said["verdict"] == Verdict.INCONCLUSIVE
        assert verdicts(said, into_vpn=False) == {Verdict.INCONCLUSIVE}
        assert verdicts(said, into_vpn=True) == {Verdict.MUTE}


def test_a_server_that_pretends_to_be_stunwall_makes_no_leak_sealed(lab: Lab) -> None:
    redirected = "chain to { type nat hook prerouting priority dstnat; udp dport 3478 redirect to :9999; }"
    with ExitStack() as stack:
        stack.enter_context(SOURCE_RULE.made(lab, AF_INET))
        stack.enter_context(lab.stun.table("inet lab_refuses", redirected))
        server = stack.enter_context(lab.stun.socket(AF_INET, SOCK_DGRAM))
        server.bind(("0.0.0.0", 9999))
        ended = threading.Event()
        thread = threading.Thread(target=refuse, args=(server, ended))
        thread.start()
        try:
            free, leaked = asked(lab, Agent(lab), AF_INET)
            with Agent(lab) as agent:
                kept, left = asked(lab, agent, AF_INET)
        finally:
            ended.set()
            thread.join()
    assert leaked
    assert free["verdict"] == Verdict.LEAK
    assert verdicts(free, into_vpn=False) == {Verdict.LEAK}
    assert left == 0
    assert kept["verdict"] == Verdict.SEALED


def refuse(server: socket, ended: threading.Event) -> None:
    """Answers every request as stunwall does."""
    server.settimeout(0.1)
    while not ended.is_set():
        with suppress(TimeoutError):
            request, sender = server.recvfrom(2048)
            error = attribute(ERROR_CODE, bytes((0, 0, 4, 0)) + b"Bad Request")
            server.sendto(message(0x0111, error, transaction_of(request)), sender)


def test_a_name_that_has_no_address_and_a_wrong_one_are_told(lab: Lab) -> None:
    agent = Agent(lab)
    wrong = agent.cli("check", "--server", "turn:192.0.2.1")
    assert wrong.returncode == 2
    assert "expected a STUN server such as stun:" in wrong.stderr
    unknown = agent.cli("check", "--server", "stun:no.such.name.invalid")
    assert unknown.returncode == EXIT_CODES[Verdict.INCONCLUSIVE]
    assert unknown.stderr.startswith("stunwall: no.such.name.invalid has no address: ")
