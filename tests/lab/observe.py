"""What a server, the wire and stunwall's own record say of a packet."""

import json
from socket import AF_INET, SOCK_DGRAM
from typing import Any

from lab.addresses import REAL, STUN_PORT, STUN_SERVER, VPN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.messages import binding_request, reflexive_address, transaction_of
from lab.probe import UNBOUND, Binding, ask
from lab.topology import Lab
from lab.wire import Wire

NOTICED = 5  # seconds for a change of links to arrive; it takes milliseconds
RECORDED = 5  # seconds for an event to be written; it is done once a second


def address_seen(
    lab: Lab, family: int = AF_INET, binding: Binding = UNBOUND, kind: int = SOCK_DGRAM
) -> str | None:
    """The address that the STUN server sees, or None if it sees nothing."""
    reply = ask(lab.client, (STUN_SERVER[family], STUN_PORT), binding_request(), binding, kind, 0.5)
    return reflexive_address(reply)


def leaves(lab: Lab, family: int, binding: Binding, kind: int = SOCK_DGRAM) -> bool:
    """Whether a Binding Request over such a socket gets out. Wire and server must agree on it."""
    request = binding_request()
    with Wire(lab) as wire:
        reply = ask(lab.client, (STUN_SERVER[family], STUN_PORT), request, binding, kind, 0.5)
        seen = bool(wire.leaks(transaction_of(request)))
    assert seen == (reflexive_address(reply) == REAL[family])
    return seen


def wait_passes(lab: Lab, family: int = AF_INET) -> None:
    """Returns once STUN goes through the VPN."""
    until(lambda: address_seen(lab, family) == VPN_SERVER[family], NOTICED, "STUN through the VPN")


def events(agent: Agent) -> list[dict[str, Any]]:
    """What `stunwall log` has, the oldest first."""
    return [json.loads(line) for line in agent.cli("log", "--json", "--limit", "1000").stdout.splitlines()]


def wait_event(agent: Agent, **fields: Any) -> dict[str, Any]:
    """The first event that has these fields, once it is in the record."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [e for e in events(agent) if all(e[name] == value for name, value in fields.items())]
        return bool(found)

    try:
        until(there, RECORDED, f"an event with {fields}")
    except TimeoutError as late:
        raise AssertionError(f"{late}; recorded: {events(agent)}; logged: {agent.lines}") from late
    return found[0]


def json_of(agent: Agent, *command: str) -> Any:
    """What a command of the CLI prints as JSON; it must succeed."""
    done = agent.cli(*command, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
