"""What stunwalld keeps of checks: for whom, for how long, and what a leak does."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from socket import AF_INET
from typing import Any

import pytest

from lab.addresses import CLIENT, NOBODY, PHYSICAL
from lab.agent import CLI, Agent
from lab.deadline import until
from lab.desktop import Desktop
from lab.leaks import SOURCE_RULE
from lab.observe import NOTICED, RECORDED, events, json_of
from lab.test_check import LIMITED, PROBED, limit
from lab.test_control import GROUP_ID, group_exists, let_others_in
from lab.topology import Lab
from lab.wire import Wire
from stunwall.daemon.check_due import FILE

pytestmark = pytest.mark.usefixtures("vpn")

EXCEPTION = f'[[allow]]\nwhy = "a test"\nfrom = "{CLIENT[AF_INET]}"\n'
NOT_YET = "not since stunwalld started: run `sudo stunwall check`"


@pytest.fixture(autouse=True)
def ways_around(lab: Lab) -> Iterator[None]:
    """A way around the VPN, and routers that report every packet."""
    limit(lab, 0)
    with SOURCE_RULE.made(lab, AF_INET):
        yield
    limit(lab, LIMITED)


def stunwall(lab: Lab, agent: Agent, *arguments: str, user: int = 0) -> tuple[int, str]:
    """How the command ended as a user, and what it printed."""
    given = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *agent.environment]
    done = lab.client.run(*given, *agent.command(CLI), *arguments)
    return done.returncode, done.stdout


def said(lab: Lab, agent: Agent, user: int = 0) -> dict[str, Any]:
    """The status as a user gets it."""
    found: dict[str, Any] = json.loads(stunwall(lab, agent, "status", "--json", user=user)[1])
    return found


def proved(lab: Lab, agent: Agent, user: int = 0) -> str:
    """What the printed status says of it."""
    lines = stunwall(lab, agent, "status", user=user)[1].splitlines()
    print(lines[0])
    first = next(at for at, line in enumerate(lines) if line.startswith("Proved "))
    rest = [line for line in lines[first + 1 :] if line.strip()]
    more = []
    for line in rest:
        if not line.startswith(" "):
            break
        more.append(line.strip())
    text = " ".join([lines[first].removeprefix("Proved").strip(), *more])
    print(f"  Proved: {text}")
    return text


def test_a_users_proof_is_that_users_and_roots_is_everybodys(lab: Lab) -> None:
    with Agent(lab, status_for_all=True) as agent:
        agent.folder.chmod(0o755)
        for user in (0, NOBODY):
            assert proved(lab, agent, user) == NOT_YET
        code, out = stunwall(lab, agent, "check", user=NOBODY)
        assert code == 0
        assert "Kept: `stunwall status` shows this result to you" in " ".join(out.split())
        assert proved(lab, agent) == NOT_YET
        assert proved(lab, agent, NOBODY).endswith("sealed, by your own check")

        code, out = stunwall(lab, agent, "check")
        assert code == 0
        assert "shows this result to every user" in " ".join(out.split())
        tests = said(lab, agent, NOBODY)["proof"]["tests"]
        assert tests > 0
        for user in (0, NOBODY):
            assert proved(lab, agent, user).endswith(f" ago, {tests} of {tests} tests sealed")


def test_what_was_proved_is_not_said_of_what_has_changed(lab: Lab) -> None:
    changed = "something has changed since: run `sudo stunwall check`"
    with Agent(lab) as agent:
        assert stunwall(lab, agent, "check")[0] == 0
        assert changed not in proved(lab, agent)
        lab.client.ip(f"addr add 192.0.2.77/32 dev {PHYSICAL}")
        try:
            until(lambda: said(lab, agent)["proof"]["changed"], NOTICED, "notice of an address")
            assert changed in proved(lab, agent)
        finally:
            lab.client.ip(f"addr del 192.0.2.77/32 dev {PHYSICAL}")
        until(lambda: not said(lab, agent)["proof"]["changed"], NOTICED, "the network as it was checked")
        assert agent.cli("pause", "1m").returncode == 0
        assert "that is no result to keep" in " ".join(stunwall(lab, agent, "check")[1].split())
        assert agent.cli("resume").returncode == 0
        assert said(lab, agent)["state"] == "protected"
        assert changed in proved(lab, agent), "it was open meanwhile"
        agent.stop()
        agent.start()
        assert proved(lab, agent) == NOT_YET


def test_a_leak_is_a_state_an_entry_and_a_notification_until_a_check_is_sealed(lab: Lab) -> None:
    with group_exists(), Desktop(lab, GROUP_ID) as desktop, Agent(lab) as agent:
        let_others_in(agent)
        desktop.show_notifications()
        desktop.notify(agent).wait_line("ready", RECORDED)
        agent.drop_in("own.toml", EXCEPTION)
        assert agent.cli("reload").returncode == 0
        assert stunwall(lab, agent, "check")[0] == 1
        body = desktop.wait_shown("STUN leaves outside the VPN", RECORDED)
        print(body)
        assert f"a check has seen STUN leave by {PHYSICAL}, outside the VPN" in body
        found = said(lab, agent)
        assert (found["state"], found["leak_possible"]) == ("leaking", True)
        assert f"a check saw STUN leave by {PHYSICAL}, outside the VPN" in proved(lab, agent)
        assert stunwall(lab, agent, "status")[0] == 1
        print(stunwall(lab, agent, "status", "--waybar")[1])
        until(lambda: "leak" in [each["verdict"] for each in events(agent)], RECORDED, "an entry")
        agent.wait_line("leak: a check has seen STUN leave", RECORDED)
        spans = partial(json_of, agent, "exposure", code=1)
        until(lambda: "leak" in [each["kind"] for each in spans()["spans"]], RECORDED, "the ledger")

        agent.drop_in("own.toml", "")
        assert agent.cli("reload").returncode == 0
        assert "something has changed since" in proved(lab, agent)
        assert said(lab, agent)["state"] == "leaking", "nobody knows yet"
        assert stunwall(lab, agent, "check")[0] == 0
        assert said(lab, agent)["state"] == "protected"


def test_a_check_is_asked_for_when_the_vpn_is_up_and_the_user_wants_it(lab: Lab) -> None:
    with Agent(lab) as agent:
        due = Path(agent.folder) / "run" / FILE
        assert not due.exists()
        assert "now checks by itself" in agent.cli("check", "--every-vpn-up", "on").stdout
        until(due.exists, RECORDED, "a check to be due")
        assert stunwall(lab, agent, "check", "--wait", "1m")[0] == 0
        until(lambda: not due.exists(), NOTICED, "it to be due no longer")
        assert agent.cli("check", "--every-vpn-up", "off").returncode == 0
        assert "false" in (agent.folder / "conf.d" / "80-check.toml").read_text()


def test_without_a_vpn_it_waits_and_sends_nothing(lab: Lab) -> None:
    with Agent(lab) as agent:
        lab.vpn.down()
        with Wire(lab) as wire:
            assert stunwall(lab, agent, "check", "--wait", "3s")[0] == 5
            assert not [each for each in wire.outside() if each.destination in PROBED]
        assert proved(lab, agent) == NOT_YET
