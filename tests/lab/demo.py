"""Shows what a web page learns about a VPN user, without stunwall and with it.

Run by `./tests/run.sh demo`; it takes less than a minute.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET

from browser.gather import Gathered, gather
from lab.addresses import FAMILIES, REAL, STUN_SERVER, VPN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import SOURCE_RULE
from lab.namespace import require_isolation
from lab.topology import Lab
from lab.wire import Wire

RED, GREEN, BOLD, PLAIN = (
    ("\033[31;1m", "\033[32;1m", "\033[1m", "\033[0m") if sys.stdout.isatty() else ("",) * 4
)

OWNERS = {
    REAL[AF_INET]: f"{RED}the user's real address{PLAIN}",
    VPN_SERVER[AF_INET]: f"{GREEN}the VPN's address{PLAIN}",
}

INTRODUCTION = f"""\
This builds a small internet on this machine, out of network namespaces. In it:

    a user at home        whose real, public address is     {REAL[AF_INET]}
    a VPN (WireGuard)     which shows the world instead     {VPN_SERVER[AF_INET]}
    a STUN server         which tells anyone who asks
                          what address they come from       {STUN_SERVER[AF_INET]}

The VPN is up. One routing rule keeps packets from the home network's address outside
the VPN, as some VPN and proxy programs do. A web page, in a real Chromium, now asks the
STUN server over WebRTC: "What is my address?"
"""


def main() -> None:
    try:
        require_isolation()
    except RuntimeError as error:
        sys.exit(str(error).replace("run.sh lab", "run.sh demo"))
    print(INTRODUCTION)
    with _step("building the lab"):
        lab = Lab()
        lab.__enter__()
    try:
        with SOURCE_RULE.made(lab, *FAMILIES):
            _show(lab)
    finally:
        with _step("taking the lab down"):
            lab.__exit__()


def _show(lab: Lab) -> None:
    print(f"\n{BOLD}1. Without stunwall{PLAIN}")
    _page(lab)
    print(f"\n{BOLD}2. With stunwall{PLAIN}")
    with _step("starting stunwalld"):
        agent = Agent(lab)
        agent.start()
    try:
        _page(lab)
        print(f"\n{BOLD}3. What stunwall recorded: `stunwall log`{PLAIN}")
        # It writes an event at most a second after the packet.
        until(lambda: STUN_SERVER[AF_INET] in agent.cli("log").stdout, 5, "the blocked flow in the record")
        print(_indented(agent.cli("log").stdout))
        print(f"\n{BOLD}4. The state of the system: `stunwall status`{PLAIN}")
        print(_indented(agent.cli("status").stdout))
    finally:
        agent.close()
    print()


def _page(lab: Lab) -> None:
    with Wire(lab) as wire:
        with _step("Chromium opens the page"):
            gathered = gather(lab, "chromium")
        leaked = len(wire.stun())
    print(_what_it_learned(gathered))
    print(f"  STUN packets that left outside the VPN: {RED if leaked else GREEN}{leaked}{PLAIN}")


def _what_it_learned(gathered: Gathered) -> str:
    lines = [f"  After {gathered.milliseconds / 1000:.1f} s the page knows from the STUN server:"]
    for address in sorted(gathered.addresses("srflx")):
        # IPv6 behaves the same; one family is enough to look at.
        if address in OWNERS:
            lines.append(f"    {address:<16} {OWNERS[address]}")
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Says what is being done while it lasts, and how long it took."""
    print(f"  {what} ...", end="", flush=True)
    start = time.monotonic()
    yield
    print(f" {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main()
