"""What servers, the wire, the kernel and stunwall's own record say about packets."""

import json
from collections.abc import Callable
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM
from typing import Any

from lab.addresses import COTURN, FAMILIES, REAL, VPN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.messages import binding_request, new_transaction, reflexive_address, transaction_of
from lab.probe import ANSWER_SECONDS, DEVICE_BOUND, UNBOUND, Binding, ask, connect, send
from lab.topology import Lab
from lab.wire import Wire

NOTICED = 5  # seconds until stunwalld has applied a change of the network; it takes milliseconds
RECORDED = 5  # seconds until an event is written; stunwalld writes once a second
LIMITS = ("over_flow_limit", "over_socket_limit", "over_sender_limit", "over_limit")
"""The counters of what the rules drop because a sender, or all together, send too much."""
NO_LEAK = "the wire shows no leak without stunwall, so the test would prove nothing"


def address_seen(
    lab: Lab,
    family: int = AF_INET,
    binding: Binding = UNBOUND,
    kind: int = SOCK_DGRAM,
    seconds: float = ANSWER_SECONDS,
) -> str | None:
    """The client's address as the STUN server sees it, or None if no answer comes from the server within `seconds`."""
    return reflexive_address(ask(lab.client, COTURN[family], binding_request(), binding, kind, seconds))


def wait_passes(lab: Lab, family: int = AF_INET) -> None:
    """Returns once STUN goes through the VPN."""
    until(
        lambda: address_seen(lab, family, seconds=0.5) == VPN_SERVER[family], NOTICED, "STUN through the VPN"
    )


def assert_sealed(lab: Lab) -> None:
    """No STUN leaves by the physical interface, neither over IPv4 nor IPv6, neither over UDP nor TCP."""
    with Wire(lab) as wire:
        for family in FAMILIES:
            for kind in (SOCK_DGRAM, SOCK_STREAM):
                assert address_seen(lab, family, DEVICE_BOUND, kind, 0.3) is None
        assert not wire.stun()


def leaves(lab: Lab, family: int, exchange: Callable[[bytes], bytes | None]) -> bool:
    """Whether the Binding Request that `exchange` sends leaves outside the VPN.

    `exchange` returns the reply; the server and the wire must agree.
    """
    request = binding_request()
    with Wire(lab) as wire:
        reply = exchange(request)
        seen = bool(wire.leaks(transaction_of(request)))
        assert seen == bool(wire.stun())
    assert seen == (reflexive_address(reply) == REAL[family])
    return seen


def on_wire(lab: Lab, attempt: Callable[[bytes], object], length: int = 12) -> bool:
    """Whether the wire shows, outside the VPN, what `attempt` sends.

    `attempt` is called with twelve random bytes and sends at least the first `length` of them.
    """
    nonce = new_transaction()
    with Wire(lab) as wire:
        attempt(nonce)
        return bool(wire.leaks(nonce[:length]))


def assert_leaks(lab: Lab, attempt: Callable[[bytes], object], length: int = 12) -> None:
    """The half without stunwall: fails unless the wire shows, outside the VPN, what `attempt` sends.

    It is repeated until it does, because a datagram may be lost or late on a busy machine.
    """
    until(lambda: on_wire(lab, attempt, length), NOTICED, f"the packet outside: {NO_LEAK}")


def settled_events(lab: Lab, agent: Agent) -> list[dict[str, Any]]:
    """The record with everything that came before the call: events are written in order, some time later."""
    with connect(lab.client, COTURN[AF_INET], DEVICE_BOUND) as sock:
        send(sock, binding_request())
        port = sock.getsockname()[1]
        wait_event(agent, transport="udp", source_port=port)
    return [event for event in events(agent) if event["source_port"] != port]


def network_state(lab: Lab) -> list[str]:
    """The client's policy routing rules, routes and nftables tables."""
    commands = (
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "nft list ruleset",
    )
    return [lab.client.run(*command.split()).stdout for command in commands]


def json_of(agent: Agent, *command: str, code: int = 0) -> Any:
    """What a command of the CLI prints as JSON; it must exit with `code`."""
    done = agent.cli(*command, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def status(agent: Agent) -> dict[str, Any]:
    """`stunwall status`, which exits 1 exactly while STUN can leak."""
    done = agent.cli("status", "--json")
    said: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == int(said["leak_possible"]), done.stdout + done.stderr
    return said


def events(agent: Agent) -> list[dict[str, Any]]:
    """What `stunwall log` has, oldest first."""
    return [json.loads(line) for line in agent.cli("log", "--json", "--limit", "100000").stdout.splitlines()]


def wait_event(agent: Agent, **fields: Any) -> dict[str, Any]:
    """The first event with these fields, once it is in the record."""
    found: list[dict[str, Any]] = []

    def recorded() -> bool:
        found[:] = [event for event in events(agent) if event.items() >= fields.items()]
        return bool(found)

    try:
        until(recorded, RECORDED, f"an event with {fields}")
    except TimeoutError as late:
        raise AssertionError(f"{late}; recorded: {events(agent)}; logged: {agent.lines}") from late
    return found[0]
