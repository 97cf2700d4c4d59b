"""The daemon as its user meets it: what the commands say of it, and what can't bring it down."""

import json
import os
import random
import signal
from collections.abc import Iterator
from socket import AF_INET, SOCK_DGRAM

import pytest

from lab.addresses import FAMILIES, PHYSICAL, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.agent import Agent, wall_stands
from lab.deadline import until
from lab.leaks import DEVICE
from lab.messages import COOKIE, binding_request, new_transaction, reflexive_address
from lab.probe import Binding, ask, connect, send
from lab.samples import STUN
from lab.topology import Lab
from lab.wire import Wire

SERVER = (STUN_SERVER[AF_INET], STUN_PORT)
OUTSIDE = Binding(device=PHYSICAL)
RULES = "rules/stunwall.nft"


def status(agent: Agent) -> tuple[int, dict[str, object]]:
    done = agent.cli("status", "--json")
    return done.returncode, json.loads(done.stdout)


def events(agent: Agent) -> list[dict[str, object]]:
    return [json.loads(line) for line in agent.cli("log", "--json", "--limit", "100000").stdout.splitlines()]


def recorded(agent: Agent) -> int:
    return sum(int(str(event["count"])) for event in events(agent))


def block_one(lab: Lab) -> None:
    DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request())


@pytest.fixture
def vpn(lab: Lab) -> Iterator[None]:
    lab.vpn.up(ipv6=True)
    yield
    lab.vpn.up(ipv6=True)


def test_status_exits_0_only_while_no_stun_can_leak(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent:
        code, said = status(agent)
        assert (code, said["state"], said["leak_possible"]) == (0, "protected", False)
        lab.vpn.down()
        until(lambda: status(agent)[1]["state"] == "sealed", 5, "the state 'sealed'")
        assert status(agent)[0] == 0
        agent.stop()
        code, said = status(agent)
        assert (code, said["state"], said["leak_possible"]) == (1, "down", True)
    with Agent(lab) as agent:
        agent.kill()
        code, said = status(agent)
        assert (code, said["state"], said["leak_possible"]) == (0, "wall-only", False)
        lab.client.nft("flush chain inet stunwall postrouting")
        code, said = status(agent)
        assert (code, said["state"], said["leak_possible"]) == (1, "down", True)
    with Agent(lab, when_vpn_down="allow") as agent:
        code, said = status(agent)
        assert (code, said["state"], said["leak_possible"]) == (1, "open", True)


def test_blocked_flow_is_one_event_with_its_count_and_its_first_packet(lab: Lab, vpn: None) -> None:
    request = binding_request()
    with Agent(lab) as agent:
        with connect(lab.client, SERVER, OUTSIDE) as sock:
            source_port = sock.getsockname()[1]
            for _ in range(3):
                send(sock, request)
        until(lambda: bool(events(agent)), 5, "an event in the record")
        (event,) = events(agent)
        assert event.pop("time") <= event.pop("last_time")  # type: ignore[operator]
        assert event == {
            "id": 1, "count": 3, "verdict": "blocked", "reason": "outside-vpn", "protocol": "stun",
            "method": "Binding", "transport": "udp", "family": 4, "source": "192.168.1.2",
            "source_port": source_port, "destination": SERVER[0], "destination_port": SERVER[1],
            "interface": PHYSICAL,
        }  # fmt: skip
        shown = json.loads(agent.cli("show", "1", "--json").stdout)
        assert bytes.fromhex(shown["packet"]).endswith(request)
        assert "STUN" in agent.cli("show", "1").stdout
        assert any("blocked stun Binding over udp" in line for line in agent.lines)


def test_rules_name_what_was_counted(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent:
        block_one(lab)
        assert reflexive_address(ask(lab.client, SERVER, binding_request())) == VPN_SERVER[AF_INET]
        wall = json.loads(agent.cli("rules", "--json").stdout)
        assert wall["whole"] is True
        counted = {rule["comment"]: rule["packets"] for rule in wall["rules"]}
        assert counted["into the VPN"] == 1
        assert counted[f"to stunwalld on queue {wall['queue']}"] == 1
        assert "The wall is up and whole." in agent.cli("rules").stdout
        assert "table inet stunwall" in agent.cli("rules", "--nft").stdout


def test_rules_loaded_again_keep_the_vpn_and_stay_shut(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent, Wire(lab) as wire:
        assert lab.client.run("nft", "-f", RULES).returncode == 0
        assert ask(lab.client, SERVER, binding_request(), OUTSIDE, seconds=0.3) is None
        assert not wire.stun()
        assert reflexive_address(ask(lab.client, SERVER, binding_request())) == VPN_SERVER[AF_INET]
        assert status(agent)[0] == 0


def test_whatever_has_the_cookie_neither_stops_the_daemon_nor_gets_out(lab: Lab, vpn: None) -> None:
    dice = random.Random(5769)
    plain = [s for s in STUN if s.kind == SOCK_DGRAM and s.make(new_transaction())[4:8] == COOKIE]
    with Agent(lab) as agent, Wire(lab) as wire, connect(lab.client, SERVER, OUTSIDE) as sock:
        for _ in range(450):  # the wall hands over up to 500 at once
            message = bytearray(dice.choice(plain).make(new_transaction()))
            for _ in range(dice.randrange(8)):
                place = dice.randrange(len(message))
                message[place] = dice.randrange(256)
            message[0] &= 0x3F
            message[4:8] = COOKIE
            send(sock, bytes(message[: dice.randrange(8, len(message) + 1)]))
        assert not wire.stun()
        until(lambda: _waiting(lab) == 0, 5, "a verdict on every packet")
        _, said = status(agent)
        daemon = said["daemon"]
        assert isinstance(daemon, dict)
        assert (daemon["faults"], daemon["unreadable"], said["problems"]) == (0, 0, [])
        assert reflexive_address(ask(lab.client, SERVER, binding_request())) == VPN_SERVER[AF_INET]


def _waiting(lab: Lab) -> int:
    """Packets in the queue that have no verdict yet (net/netfilter/nfnetlink_queue.c)."""
    rows = lab.client.read("/proc/net/netfilter/nfnetlink_queue").splitlines()
    return sum(int(row.split()[2]) for row in rows)


def test_flood_is_dropped_in_the_kernel_and_counted_while_others_are_served(lab: Lab, vpn: None) -> None:
    packets = 20_000
    with Agent(lab) as agent, Wire(lab) as wire:
        with connect(lab.client, SERVER, OUTSIDE) as sock:
            for _ in range(packets):
                send(sock, binding_request())
            assert reflexive_address(ask(lab.client, SERVER, binding_request())) == VPN_SERVER[AF_INET]
        assert not wire.stun()
        _, said = status(agent)
        daemon = said["daemon"]
        assert isinstance(daemon, dict)
        assert daemon["counters"]["over_limit"] > 0
        assert any("too many at once" in problem for problem in said["problems"])  # type: ignore[attr-defined]
        until(lambda: bool(events(agent)), 5, "an event in the record")
        dropped = daemon["counters"]["over_limit"]
        until(lambda: recorded(agent) + dropped == packets, 5, "each packet in the record or the counter")


def test_packets_that_the_queue_could_not_hold_are_counted(lab: Lab, vpn: None) -> None:
    sent = 0
    with Agent(lab) as agent, Wire(lab) as wire:
        os.kill(agent.pid, signal.SIGSTOP)
        while _queued(lab) < 1500:  # the queue holds 1024
            # Packets that wait fill their socket's buffer, so each hundred has a socket of its own.
            with connect(lab.client, SERVER, OUTSIDE) as sock:
                for _ in range(100):
                    send(sock, binding_request())
            sent += 100
        os.kill(agent.pid, signal.SIGCONT)
        until(lambda: _waiting(lab) == 0, 5, "a verdict on every packet")
        assert not wire.stun()
        _, said = status(agent)
        daemon = said["daemon"]
        assert isinstance(daemon, dict)
        assert daemon["queue_overruns"] > 0
        dropped = daemon["queue_overruns"] + daemon["counters"]["over_limit"]
        until(lambda: recorded(agent) + dropped == sent, 5, "each packet in the record or a counter")


def _queued(lab: Lab) -> int:
    """Packets that the wall has sent to the daemon."""
    listing = json.loads(lab.client.run("nft", "-j", "list", "chain", "inet", "stunwall", "listener").stdout)
    expressions = [e for item in listing["nftables"] if "rule" in item for e in item["rule"]["expr"]]
    return sum(int(e["counter"]["packets"]) for e in expressions if "counter" in e)


def test_second_daemon_in_the_same_network_is_refused_and_harms_nothing(lab: Lab, vpn: None) -> None:
    with Agent(lab) as agent:
        for keys, said in (({}, "queue 4780 is taken"), ({"queue": 4781}, "another stunwalld guards")):
            second = Agent(lab, **keys)
            with pytest.raises(RuntimeError, match=said):
                second.start()
        assert status(agent)[0] == 0
        assert reflexive_address(ask(lab.client, SERVER, binding_request(), OUTSIDE)) is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"mode": "off"}, 'line 3: mode: "block"'),
        ({"queue": "4780"}, "line 3: queue: a whole number from 0 to 65535 expected, found '4780'"),
        ({"colour": True}, "line 3: colour: unknown key"),
    ],
)
def test_wrong_configuration_is_told_and_changes_nothing(
    lab: Lab, keys: dict[str, str | bool], said: str
) -> None:
    agent = Agent(lab, **keys)
    with pytest.raises(RuntimeError, match=said):
        agent.start()
    assert not wall_stands(lab)
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
        agent.wait_line("moved aside")
        block_one(lab)
        assert not wire.stun()
        until(lambda: bool(events(agent)), 5, "an event in the new record")
        code, said = status(agent)
        assert code == 0
        assert said["state"] == "degraded"
        (moved,) = state.glob("events.db.*.broken")
        assert any(moved.name in problem for problem in said["problems"])  # type: ignore[attr-defined]


def test_under_systemd_each_line_starts_with_its_priority(
    lab: Lab, vpn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with Agent(lab) as agent:
        block_one(lab)
        agent.wait_line("<4>blocked stun Binding")
        assert agent.lines[0].startswith("<5>ready")


# stunwall's two bits alone and together, with others, all, and Mullvad's.
MARKS = (0x10000000, 0x80000000, 0x90000000, 0x90000002, 0xFFFFFFFF, 0x6D6F6C65)


@pytest.mark.parametrize("mode", ["block", "redirect"])
def test_packet_marks_of_other_programs_open_nothing(lab: Lab, vpn: None, mode: str) -> None:
    with Agent(lab, mode=mode), Wire(lab) as wire:
        for mark in MARKS:
            for family in FAMILIES:
                server = (STUN_SERVER[family], STUN_PORT)
                ask(lab.client, server, binding_request(), Binding(device=PHYSICAL, mark=mark), seconds=0.3)
        assert not wire.stun()
