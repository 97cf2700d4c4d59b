"""The daemon as its user sees it: what the commands report, and what must not stop it."""

import os
from socket import AF_INET, SOCK_DGRAM

import pytest

from lab.addresses import CLIENT, COTURN, FAMILIES, PHYSICAL, VPN_SERVER
from lab.agent import QUEUE, RULES, Agent, Value, wall_is_up
from lab.deadline import until
from lab.leaks import DEVICE
from lab.messages import binding_request
from lab.observe import RECORDED, address_seen, events, json_of, status
from lab.probe import DEVICE_BOUND, Binding, ask, connect, send
from lab.topology import Lab
from lab.wire import Wire

SERVER = COTURN[AF_INET]


def block_one(lab: Lab) -> None:
    DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request())


def wait_event(agent: Agent) -> None:
    until(lambda: bool(events(agent)), RECORDED, "an event in the record")


def assert_status(agent: Agent, state: str, leak_possible: bool) -> None:
    said = status(agent)
    assert (said["state"], said["leak_possible"]) == (state, leak_possible)


def test_status_says_whether_stun_can_leak(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent:
        assert_status(agent, "protected", leak_possible=False)
        lab.vpn.down()
        until(lambda: status(agent)["state"] == "sealed", 5, "the state 'sealed'")
        assert_status(agent, "sealed", leak_possible=False)
        agent.stop()
        assert_status(agent, "down", leak_possible=True)
    with Agent(lab) as agent:
        agent.kill()
        assert_status(agent, "wall-only", leak_possible=False)
        lab.client.nft("flush chain inet stunwall postrouting")
        assert_status(agent, "down", leak_possible=True)
    with Agent(lab, when_vpn_down="allow") as agent:
        assert_status(agent, "open", leak_possible=True)


def test_blocked_flow_is_one_event_with_a_count_and_its_first_packet(lab: Lab, vpn: None) -> None:
    request = binding_request()
    with Agent(lab) as agent:
        with connect(lab.client, SERVER, DEVICE_BOUND) as sock:
            source_port = sock.getsockname()[1]
            for _ in range(3):
                send(sock, request)
            wait_event(agent)
        (event,) = events(agent)
        assert event.pop("time") <= event.pop("last_time")
        expected = {
            "id": 1,
            "count": 3,
            "verdict": "blocked",
            "reason": "outside-vpn",
            "protocol": "stun",
            "method": "Binding",
            "transport": "udp",
            "family": 4,
            "source": CLIENT[AF_INET],
            "source_port": source_port,
            "destination": SERVER[0],
            "destination_port": SERVER[1],
            "interface": PHYSICAL,
            "address": "",
            "flows": 1,
            "uid": os.getuid(),
            "pid": os.getpid(),
        }
        assert event | expected == event
        shown = json_of(agent, "show", "1")
        assert bytes.fromhex(shown["packet"]).endswith(request)
        assert "STUN" in agent.cli("show", "1").stdout
        assert any("blocked stun Binding over udp" in line for line in agent.lines)


def test_rules_shows_what_each_rule_counted(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent:
        block_one(lab)
        assert address_seen(lab) == VPN_SERVER[AF_INET]
        wall = json_of(agent, "rules")
        assert wall["whole"] is True
        counted = {rule["comment"]: rule["packets"] for rule in wall["rules"]}
        assert counted[f"to stunwalld on queue {wall['queue']}"] == 1
        assert "The wall is up and intact." in agent.cli("rules").stdout
        assert "table inet stunwall" in agent.cli("rules", "--nft").stdout


def test_reloading_the_rule_file_keeps_the_vpn_and_lets_nothing_out(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent, Wire(lab) as wire:
        assert lab.client.run("nft", "-f", RULES).returncode == 0
        assert ask(lab.client, SERVER, binding_request(), DEVICE_BOUND, seconds=0.3) is None
        assert not wire.stun()
        assert address_seen(lab) == VPN_SERVER[AF_INET]
        assert not status(agent)["leak_possible"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        pytest.param({}, f"queue {QUEUE} is taken", id="same_queue"),
        pytest.param({"queue": QUEUE + 1}, "another stunwalld guards", id="another_queue"),
    ],
)
def test_second_daemon_in_the_same_network_does_not_start_and_does_no_harm(
    lab: Lab, vpn: None, keys: dict[str, Value], said: str
) -> None:
    with Agent(lab) as agent:
        second = Agent(lab, **keys)
        with pytest.raises(RuntimeError, match=said):
            second.start()
        assert not status(agent)["leak_possible"]
        assert address_seen(lab, binding=DEVICE_BOUND, seconds=0.5) is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"mode": "off"}, 'line 3: mode: "block"'),
        ({"queue": "4780"}, "line 3: queue: a whole number from 0 to 65535 expected, found '4780'"),
        ({"colour": True}, "line 3: colour: unknown key"),
    ],
)
def test_wrong_configuration_is_an_error_with_its_line_and_changes_nothing(
    lab: Lab, keys: dict[str, Value], said: str
) -> None:
    agent = Agent(lab, **keys)
    with pytest.raises(RuntimeError, match=said):
        agent.start()
    assert not wall_is_up(lab)
    checked = agent.cli("config", "check")
    assert checked.returncode == 3
    assert said in checked.stderr
    agent.close()


def test_damaged_record_is_moved_aside_and_blocking_goes_on(lab: Lab, vpn: None) -> None:
    agent = Agent(lab)
    state = agent.folder / "state"
    state.mkdir()
    (state / "events.db").write_bytes(os.urandom(8192))
    with agent, Wire(lab) as wire:
        agent.wait_line("it was moved to")
        block_one(lab)
        assert not wire.stun()
        wait_event(agent)
        assert_status(agent, "degraded", leak_possible=False)
        (moved,) = state.glob("events.db.*.broken")
        assert any(moved.name in problem for problem in status(agent)["problems"])


def test_under_systemd_each_log_line_starts_with_its_priority(
    lab: Lab, vpn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with Agent(lab) as agent:
        block_one(lab)
        agent.wait_line("<4>blocked stun Binding")
        assert agent.lines[0].startswith("<5>ready")


# stunwall's two bits alone and together, with others, all bits, and Mullvad's mark.
MARKS = (0x10000000, 0x80000000, 0x90000000, 0x90000002, 0xFFFFFFFF, 0x6D6F6C65)


@pytest.mark.parametrize("mode", ["block", "redirect"])
def test_marks_of_other_programs_let_nothing_out(lab: Lab, vpn: None, mode: str) -> None:
    with Agent(lab, mode=mode), Wire(lab) as wire:
        for mark in MARKS:
            for family in FAMILIES:
                marked = Binding(device=PHYSICAL, mark=mark)
                ask(lab.client, COTURN[family], binding_request(), marked, seconds=0.3)
        assert not wire.stun()
