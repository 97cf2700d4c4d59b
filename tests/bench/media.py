"""Media in a redirected flow, beside the same through the VPN, for which stunwall has nothing to do."""

from collections.abc import Iterator
from contextlib import ExitStack
from socket import AF_INET

from bench.machine import BY_WAY_OUT, INTO_VPN, SERVER, Tunnel, machine
from bench.peers import stunwall
from bench.results import Budget, Result, Row
from bench.tools import Meter, program, turns
from lab.addresses import CLIENT
from lab.agent import Agent
from lab.leaks import SOURCE_RULE
from lab.namespace import Namespace
from lab.process import Process
from lab.topology import Lab

GROUP = "Media in a flow that began with STUN"
DIRECT, REDIRECTED = "into the VPN by its route", "redirected into the VPN"
BUDGETS = (Budget(0.98, DIRECT, least=True),)
ROUNDS = 25
BY_CABLE, BY_WIREGUARD = 1_000, 500  # packets a block
BEHIND_VPN = "198.51.100.6"  # in the lab


def measure(quick: bool) -> Iterator[Result]:
    rounds, part = (1, 50) if quick else (ROUNDS, 1)
    with Lab() as lab, SOURCE_RULE.made(lab, AF_INET), Agent(lab, mode="redirect"):
        lab.stun.ip(f"addr add {BEHIND_VPN}/24 dev eth0")
        server = Process(lab.stun, str(program("server")), BEHIND_VPN)
        server.wait_line("serving", 5)
        yield from rows(
            "by WireGuard (wireguard-go)",
            lab.client,
            CLIENT[AF_INET],
            BEHIND_VPN,
            BY_WIREGUARD // part,
            rounds,
        )
        server.kill()
    with machine("m", Tunnel.CABLE) as cable, stunwall(cable, "redirect"):
        found = list(rows("by a cable", cable.client, BY_WAY_OUT, SERVER, BY_CABLE // part, rounds))
    yield from (Row(row.group, row.what, row.peer, row.unit, row.values) for row in found)


def rows(
    vpn: str, client: Namespace, bypassing: str, server: str, packets: int, rounds: int
) -> Iterator[Row]:
    """Two flows in turns: one that goes into the VPN, and one from a socket whose address is routed around it."""
    taken: dict[str, list[float]] = {DIRECT: [], REDIRECTED: []}
    seen = set()
    with ExitStack() as stack:
        flows = {
            name: stack.enter_context(Meter(client, "media", source, server, str(packets)))
            for name, source in ((DIRECT, INTO_VPN), (REDIRECTED, bypassing))
        }
        for _ in range(rounds):
            for name, flow in turns(flows):
                speed, address = flow.measure()
                taken[name].append(float(speed))
                seen.add(address)
    if len(seen) != 1 or bypassing in seen:
        raise RuntimeError(f"both flows should come from the VPN's address, and came from {seen}")
    for name, values in taken.items():
        yield Row(
            GROUP,
            f"1,200-byte packets, {vpn}",
            name,
            "Mbit/s",
            tuple(values),
            BUDGETS if name == REDIRECTED else (),
        )
