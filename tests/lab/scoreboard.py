"""The attack theatre: `./tests/run.sh attacks`, which with `--write` updates tests/README.md.

Each attack is played without stunwall, and with each of its modes. A cell says how many packets with STUN left outside
the VPN, as the wire shows, and whether a call went on through the VPN.

In a cell, a program asks the STUN server while the attack goes on, the same in each mode. With stunwall, another one
sends all the time, from before the attack until its end. What is no STUN is sent by the same ways: it has to come out,
or the attack did not work.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.addresses import COTURN, VPN_SERVER
from lab.agent import Agent, Value
from lab.attacks import ATTACKS, Attack, Socket
from lab.deadline import until
from lab.hostile import HOME
from lab.messages import COOKIE, new_transaction, reflexive_address
from lab.namespace import require_isolation
from lab.observe import NO_LEAK, NOTICED
from lab.probe import ask, connect, send
from lab.senders import Senders
from lab.topology import Lab
from lab.wire import Wire

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- the attacks -->\n", "<!-- end of the attacks -->\n"

MODES = ("none", "block", "redirect")
NO_STUN_PORT = 50001
SILENCE = 0.5  # seconds for an answer that need not come


@dataclass(frozen=True, slots=True)
class Cell:
    """What an attack did: packets with STUN outside the VPN, and whether a call went on through the VPN."""

    packets: int
    works: bool

    def __str__(self) -> str:
        call = "call through the VPN" if self.works else "no call"
        return f"**{self.packets}**" if self.packets else f"0, {call}"


@contextmanager
def stunwall(lab: Lab, mode: str, attack: Attack, **config: Value) -> Iterator[None]:
    """stunwall runs in this mode, and programs send STUN all the time. With "none", neither does."""
    if mode == "none":
        yield
        return
    ways = {(each.family, each.binding) for each in attack.sockets}
    with Agent(lab, mode=mode, **config), ExitStack() as stack:
        senders = [
            stack.enter_context(Senders(lab, binding, namespace=attack.namespace(lab), family=family))
            for family, binding in ways
        ]
        for each in senders:
            each.wait()
        yield
        for each in senders:
            each.wait()


def play(lab: Lab, attack: Attack, mode: str, **config: Value) -> Cell:
    """Play an attack against a mode, and see what leaves. TimeoutError if it leads nothing outside.

    `config`: more of stunwall's configuration.
    """
    with attack.stage(lab):
        with ExitStack() as stack:
            wires = {end: stack.enter_context(Wire(lab, end)) for end in {HOME, attack.end}}
            with stunwall(lab, mode, attack, **config), attack.going(lab):
                works = [passes(lab, attack, each) for each in (*attack.sockets, *attack.others)]
                if mode in attack.works and not any(works):
                    # stunwall may not have noticed the VPN yet.
                    way = attack.sockets[0]
                    until(
                        lambda: passes(lab, attack, way),
                        NOTICED,
                        f"STUN through the VPN: {attack.name}, {mode}",
                    )
                    works.append(True)
                until(lab.queues_empty, NOTICED, "a verdict for every packet")
                for each in attack.sockets:
                    assert_led_outside(lab, attack, each, wires[attack.end])
        return Cell(sum(len(wire.seen(COOKIE)) for wire in wires.values()), any(works))


def passes(lab: Lab, attack: Attack, way: Socket) -> bool:
    """Whether a request gets an answer from the STUN server, which sees the VPN's address."""
    request = attack.request(new_transaction())
    with suppress(OSError):  # the network is unreachable, or the connection refused
        reply = ask(attack.namespace(lab), COTURN[way.family], request, way.binding, way.kind, SILENCE)
        return reflexive_address(reply) == VPN_SERVER[way.family]
    return False


def assert_led_outside(lab: Lab, attack: Attack, way: Socket, wire: Wire) -> None:
    """The attack leads what is no STUN outside, in spite of stunwall."""
    payload = b"no STUN " + os.urandom(16)
    server = COTURN[way.family][0], NO_STUN_PORT

    def outside() -> bool:
        with suppress(OSError), connect(attack.namespace(lab), server, way.binding) as sock:
            send(sock, payload)
        return bool(wire.seen(payload))

    until(outside, NOTICED, f"what is no STUN outside the VPN: {attack.name}")


def faults(attack: Attack, mode: str, cell: Cell) -> Iterator[str]:
    """What is not as promised, in words."""
    name = f"{attack.name}, {mode}"
    if mode == "none":
        if not cell.packets:
            yield f"{name}: {NO_LEAK}"
        return
    if cell.packets:
        yield f"{name}: LEAK, {cell.packets} packets"
    if cell.works is not (mode in attack.works):
        yield f"{name}: STUN {'went' if cell.works else 'did not go'} through the VPN"


def table(cells: dict[tuple[str, str], Cell]) -> str:
    """The scoreboard in Markdown, and where the attacks are from."""
    lines = ["| attack | who does what | " + " | ".join(MODES) + " |", "| --- " * (2 + len(MODES)) + "|"]
    for attack in ATTACKS:
        row = (attack.name, attack.attacker, *(str(cells[attack.name, mode]) for mode in MODES))
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n\n" + sources() + "\n"


def sources() -> str:
    return "\n".join(f"- {attack.name}: {attack.source}" for attack in ATTACKS)


def main() -> int:
    try:
        require_isolation()
    except RuntimeError as error:
        sys.exit(str(error).replace("run.sh lab", "run.sh attacks"))
    cells: dict[tuple[str, str], Cell] = {}
    found: list[str] = []
    with Lab() as lab:
        for attack in ATTACKS:
            for mode in MODES:
                cell = cells[attack.name, mode] = play(lab, attack, mode)
                print(f"{attack.name:36} {mode:9} {cell}", flush=True)
                found += faults(attack, mode, cell)
                lab.client.delete_connections()
    print("\n" + table(cells))
    print("\n".join(found) or "Every cell is as promised.")
    if "--write" in sys.argv[1:] and not found:
        before, rest = README.read_text().split(BEGIN)
        README.write_text(before + BEGIN + "\n" + table(cells) + "\n" + END + rest.split(END)[1])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
