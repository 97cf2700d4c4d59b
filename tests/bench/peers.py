"""Who is measured, each on a machine of its own: nothing, the peers, and stunwall in its modes."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from bench.machine import PHYSICAL, SERVER, VPN, Machine, Tunnel, machine
from bench.tools import program
from lab.agent import Agent
from lab.deadline import until
from lab.process import Process

QUEUE = "4790"  # of the listeners and of OpenSnitch
CONNTRACK = """
    table inet stateful {
        chain postrouting {
            type filter hook postrouting priority filter
            ct state invalid drop
        }
    }
"""
PYTHON_LISTENER = str(Path(__file__).with_name("listener.py"))
# The UDP header has 8 bytes, and the cookie is the second word of the message: RFC 8489 §5.
STUN = "0>>22&0x3C@12=0x2112A442"


@dataclass(frozen=True, slots=True)
class Peer:
    """One who is measured: inside `on(machine)` it runs there."""

    name: str
    on: Callable[[Machine], AbstractContextManager[object]]


@contextmanager
def _conntrack(machine: Machine) -> Iterator[None]:
    machine.client.nft(CONNTRACK)
    yield


@contextmanager
def _listener(machine: Machine, *command: str) -> Iterator[None]:
    rule = f"-t mangle -A POSTROUTING -o {PHYSICAL} -p udp -m u32 --u32 {STUN} -j NFQUEUE --queue-num {QUEUE}"
    machine.client.run("iptables", *rule.split()).check_returncode()
    listener = Process(machine.client, *command, QUEUE)
    try:
        listener.wait_line("listening", 5)
        yield
    finally:
        listener.kill()


@contextmanager
def _opensnitch(machine: Machine) -> Iterator[None]:
    """Debian's daemon as it comes: without its user interface it allows what no rule is about."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("-rules-path", folder, "-ui-socket", f"unix://{folder}/none.sock", "-queue-num", QUEUE)
        # It finds processes by /proc: the eBPF module is a package of its own, for a kernel with its headers.
        daemon = Process(machine.client, "opensnitchd", *options, "-process-monitor-method", "proc")
        try:
            queues = "netfilter/nfnetlink_queue"
            until(
                lambda: QUEUE in machine.client.read(queues).split() or not daemon.running, 10, "OpenSnitch"
            )
            until(
                lambda: (
                    "NFQUEUE" in machine.client.printed("iptables-save", "-t", "mangle") or not daemon.running
                ),
                10,
                "OpenSnitch's rules",
            )
            if not daemon.running:
                raise RuntimeError(f"opensnitchd ended: {daemon.output}")
            yield
        finally:
            daemon.kill()


@contextmanager
def stunwall(machine: Machine, mode: str, exceptions: Iterable[str] = ()) -> Iterator[Agent]:
    """stunwalld in this mode, with an exception for each of these addresses."""
    agent = Agent(machine, mode=mode, interfaces=[VPN])
    agent.drop_in("bench.toml", "".join(f'[[allow]]\nwhy = "bench"\nto = "{to}"\n' for to in exceptions))
    with agent:
        yield agent


NOTHING = Peer("nothing", lambda _: nullcontext())
CONNECTION_TRACKING = Peer("conntrack", _conntrack)
LISTENER = Peer("C listener", lambda machine: _listener(machine, str(program("listener"))))
PYTHON = Peer("Python listener", lambda machine: _listener(machine, sys.executable, PYTHON_LISTENER))
OPENSNITCH = Peer("OpenSnitch", _opensnitch)
BLOCK = Peer("stunwall block", lambda machine: stunwall(machine, "block"))
REDIRECT = Peer("stunwall redirect", lambda machine: stunwall(machine, "redirect"))
EXCEPTION = Peer("stunwall exception", lambda machine: stunwall(machine, "block", [SERVER]))
PEERS = (NOTHING, CONNECTION_TRACKING, LISTENER, OPENSNITCH, BLOCK, REDIRECT)


def judged(machine: Machine) -> int:
    """How many packets the kernel has handed to a listener or OpenSnitch: the queue's last number."""
    # proc_nfnetlink_queue(5): queue, port ID, waiting, mode, range, two kinds of drops, last packet's number
    rows = map(str.split, machine.client.read("netfilter/nfnetlink_queue").splitlines())
    return sum(int(row[7]) for row in rows if row[0] == QUEUE)


def present(peers: Iterable[Peer]) -> list[Peer]:
    """Those that this machine has; says which it does not have."""
    found = [peer for peer in peers if peer is not OPENSNITCH or shutil.which("opensnitchd")]
    for peer in set(peers) - set(found):
        print(f"{peer.name} is not on this machine, and is left out", file=sys.stderr)
    return found


@contextmanager
def running(peers: Iterable[Peer], tunnel: Tunnel) -> Iterator[dict[Peer, Machine]]:
    """All peers at once, each on its own machine."""
    with ExitStack() as stack:
        machines = {}
        for number, peer in enumerate(peers):
            machines[peer] = stack.enter_context(machine(f"b{number}", tunnel))
            stack.enter_context(peer.on(machines[peer]))
        yield machines
