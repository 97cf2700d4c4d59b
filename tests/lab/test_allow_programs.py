"""Exceptions by unit and by application, in the real cgroup hierarchy: for their programs and for nobody else's."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from socket import AF_INET
from typing import Any

import pytest

from lab.addresses import CLIENT, COTURN, FAMILIES, NOBODY, PHYSICAL, REAL, STUN_SERVER, VPN
from lab.agent import Agent
from lab.cgroups import ROOT, Cgroups
from lab.deadline import until
from lab.leaks import SOURCE_RULE
from lab.messages import binding_request, reflexive_address
from lab.observe import NO_LEAK, NOTICED, RECORDED, json_of, status
from lab.probe import DEVICE_BOUND, ask
from lab.process import Process
from lab.programs import STUN_CLIENT, maps_to
from lab.responder import Responder
from lab.test_allow import allowing
from lab.test_inside import KINDS, SERVED_PORT, published, stranger_asks
from lab.topology import Lab
from lab.wire import Wire
from lab.wireguard import wg

pytestmark = pytest.mark.usefixtures("vpn")

SERVED = maps_to(REAL[AF_INET])
UNIT, TEMPLATE, APP = "stunwall-lab.service", "stunwall@lab.service", "org.stunwall.Lab-er"
SCOPE = r"app-flatpak-org.stunwall.Lab\x2der-{}.scope"
MANAGER = f"user.slice/user-{NOBODY}.slice/user@{NOBODY}.service"


def answer(cgroups: Cgroups, path: str, user: int = 0) -> str:
    """What a client prints that asks outside the VPN, in the cgroup at this path."""
    return cgroups.printed(path, "setpriv", f"--reuid={user}", "--clear-groups", *STUN_CLIENT)


def is_served(cgroups: Cgroups, path: str, user: int = 0) -> bool:
    """Whether the server answers such a client."""
    return SERVED in answer(cgroups, path, user)


@dataclass(frozen=True, slots=True)
class Case:
    """An exception, the cgroup and the user that it is for, and others that it is not for."""

    name: str
    rule: dict[str, Any]
    path: str
    user: int = 0
    others: tuple[tuple[str, int], ...] = ()


CLAIMED = (f"{MANAGER}/{UNIT}", NOBODY), (f"{MANAGER}/app.slice/{UNIT}", NOBODY), (f"a.scope/{UNIT}", 0)
CASES = (
    Case("unit", {"unit": UNIT}, f"system.slice/{UNIT}", others=(*CLAIMED, ("system.slice/b.service", 0))),
    Case("template", {"unit": TEMPLATE}, f"system.slice/system-stunwall.slice/{TEMPLATE}", others=CLAIMED),
    Case("slice", {"unit": "stunwall.slice"}, f"stunwall.slice/{UNIT}", others=CLAIMED),
    Case("glob", {"unit": "stunwall-l*.service"}, f"own.slice/{UNIT}", others=CLAIMED),
    Case(
        "unit_of_a_user",
        {"unit": UNIT, "user": "nobody"},
        f"{MANAGER}/app.slice/{UNIT}",
        NOBODY,
        ((f"{MANAGER}/app.slice/{UNIT}", 0), (f"user.slice/user-7.slice/user@7.service/{UNIT}", 7)),
    ),
    Case(
        "application",
        {"app": APP, "user": "nobody"},
        f"{MANAGER}/app.slice/{SCOPE.format(4069)}",
        NOBODY,
        (
            (f"{MANAGER}/app.slice/app-flatpak-org.stunwall.Lab-1.scope", NOBODY),
            (f"user.slice/user-7.slice/user@7.service/app.slice/{SCOPE.format(1)}", 7),
        ),
    ),
    Case(
        "path", {"unit": f"{MANAGER}/app.slice/app-*.scope"}, f"{MANAGER}/app.slice/{SCOPE.format(1)}", NOBODY
    ),
)


@pytest.mark.parametrize("mode", ["block", "redirect"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_exception_by_program_lets_its_programs_through_and_no_others(
    lab: Lab, cgroups: Cgroups, case: Case, mode: str
) -> None:
    others = (*case.others, (".", 0))
    with SOURCE_RULE.made(lab, AF_INET):
        for path, user in others:
            until(partial(is_served, cgroups, path, user), NOTICED, f"an answer outside: {NO_LEAK}")
        cgroups.make(case.path)
        with allowing(lab, case.rule, mode=mode) as agent:
            assert is_served(cgroups, case.path, case.user)
            with Wire(lab) as wire:
                for path, user in others:
                    assert not is_served(cgroups, path, user), path
                assert not wire.stun()
            assert is_served(cgroups, case.path, case.user)
            (listed,) = json_of(agent, "allow", "list")["allow"]
            assert len(listed["cgroups"]) == 1
            agent.kill()
            assert is_served(cgroups, case.path, case.user), (
                "the exception is in the kernel and needs no daemon"
            )


def test_an_application_that_is_started_again_and_again_is_let_through(lab: Lab, cgroups: Cgroups) -> None:
    with SOURCE_RULE.made(lab, AF_INET), allowing(lab, {"app": APP, "user": "nobody"}) as agent:

        def found() -> bool:
            return bool(json_of(agent, "allow", "list")["allow"][0]["cgroups"])

        assert "not found: user 65534 runs no application" in " ".join(
            agent.cli("allow", "list").stdout.split()
        )
        for number in range(3):
            assert not found()
            assert "Exception" in agent.cli("status").stdout
            path = f"{MANAGER}/app.slice/{SCOPE.format(number)}"
            cgroups.make(path)
            until(partial(is_served, cgroups, path, NOBODY), NOTICED, "the new scope to be let through")
            assert "Exception" not in agent.cli("status").stdout
            cgroups.remove(path)
            until(lambda: not found(), NOTICED, "the end of the application")


# Somebody who makes cgroups in order to harm


def test_a_user_who_nests_cgroups_does_not_stop_the_daemon(lab: Lab, cgroups: Cgroups) -> None:
    """nft looks through all of them for the name of one, and its stack is too small for these."""
    depth = 2100
    cgroups.make(MANAGER)
    for number in range(16):
        cgroups.make(f"stunwall{number}.slice")
    # Behind the user's, in the order in which nft looks.
    order = [folder.name for folder in ROOT.iterdir()]
    behind = [name for name in order[order.index("user.slice") :] if name.startswith("stunwall")]
    unit = f"{behind[-1]}/{UNIT}"
    cgroups.make(unit)
    descend = f"import os\nos.chdir({str(ROOT / MANAGER)!r})\n" + "for _ in range({}):\n"
    nest = descend.format(depth) + "    os.mkdir('d')\n    os.chdir('d')\n"
    clear = (
        descend.format(depth)
        + "    os.chdir('d')\n"
        + f"for _ in range({depth}):\n    os.chdir('..')\n    os.rmdir('d')\n"
    )
    with SOURCE_RULE.made(lab, AF_INET), allowing(lab, {"unit": UNIT}) as agent:
        subprocess.run([sys.executable, "-c", nest], check=True)
        try:
            lab.client.nft("add rule inet stunwall decide accept")  # so that the daemon lists the rules
            until(lambda: bool(status(agent)["daemon"]["gaps"]), NOTICED, "the repair of the wall")
            assert is_served(cgroups, unit)
            assert not is_served(cgroups, ".")
        finally:
            subprocess.run([sys.executable, "-c", clear], check=True)


# A server of one's own


def test_one_exception_is_for_a_server_of_this_machine_over_udp_and_tcp_and_both_ip_versions(
    lab: Lab, cgroups: Cgroups
) -> None:
    rule = {"unit": UNIT, "source_port": SERVED_PORT}
    every = [(family, kind) for family in FAMILIES for kind in KINDS]
    with SOURCE_RULE.made(lab, *FAMILIES), published(lab, CLIENT):
        with cgroups.inside(f"system.slice/{UNIT}"):
            responder = Responder(lab.client, SERVED_PORT, *CLIENT.values())
        with responder:
            for family, kind in every:
                assert reflexive_address(stranger_asks(lab, family, kind)) is not None, NO_LEAK
            with Agent(lab), Wire(lab) as wire:
                for family, kind in every:
                    assert stranger_asks(lab, family, kind, seconds=0.5) is None
                assert not wire.stun()
            with allowing(lab, rule) as agent:
                for family, kind in every:
                    assert reflexive_address(stranger_asks(lab, family, kind)) is not None
                with Wire(lab) as wire:
                    assert not is_served(cgroups, f"system.slice/{UNIT}"), "from another port"
                    for family, kind in every:
                        for binding in (SOURCE_RULE.binding[family], DEVICE_BOUND):
                            reply = ask(lab.client, COTURN[family], binding_request(), binding, kind, 0.5)
                            assert reflexive_address(reply) is None
                    assert not wire.stun()
                agent.kill()
                for family, kind in every:
                    assert reflexive_address(stranger_asks(lab, family, kind)) is not None


# A VPN that rides on TURN

RELAY = f"""
import socket, sys, time
take = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
take.bind(("127.0.0.1", 9000))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"{PHYSICAL}")
out.settimeout(0.2)
while True:
    try:  # the kernel may tell the sender that its packet was dropped
        out.sendto(bytes.fromhex(sys.argv[1]), ("{STUN_SERVER[AF_INET]}", 3478))
        answer = out.recv(2048)
    except OSError:
        continue
    print("served" if answer[:2] == b"\\1\\1" else "refused", flush=True)
    time.sleep(0.2)
"""


def test_the_program_that_relays_a_vpn_is_told_and_allowed_by_the_command_that_is_shown(
    lab: Lab, cgroups: Cgroups
) -> None:
    peer = wg("show", VPN, "peers")
    wg("set", VPN, "peer", peer, "endpoint", "127.0.0.1:9000")
    with cgroups.inside("system.slice/vk-turn.service"):
        relay = Process(lab.client, sys.executable, "-c", RELAY, binding_request().hex())
    try:
        relay.wait_line("served", 5)  # without stunwall
        with Agent(lab) as agent:
            relay.wait_line("refused", 5)

            def problem() -> str:
                found = [text for text in status(agent)["problems"] if "127.0.0.1:9000" in text]
                return found[0] if found else ""

            until(lambda: bool(problem()), RECORDED, "what is blocked of the relay")
            said = problem()
            assert f"(pid {relay.pid}, vk-turn.service) relays it" in said
            assert f"STUN to {STUN_SERVER[AF_INET]}:3478" in said
            shown = [each for each in json_of(agent, "doctor") if "127.0.0.1:9000" in each["what"]]
            assert [each["result"] for each in shown] == ["warning"]
            match = re.search("To allow it: sudo stunwall (.*)", said)
            assert match
            assert match[1] in shown[0]["next"]
            relay.lines.clear()
            allowed = agent.cli(*shlex.split(match[1]))
            assert allowed.returncode == 0, allowed.stderr
            relay.wait_line("served", 5)
            assert not problem()
    finally:
        relay.kill()
