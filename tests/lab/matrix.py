"""Which STUN leaves, by sender and state: `./tests/run.sh matrix`, which with `--write` updates rules/README.md.

Every cell is what the wire shows. The same senders without stunwall are the control: only what leaves then can be
sealed.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from socket import AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_STREAM
from textwrap import fill

from lab.addresses import CLIENT, ECHO_SERVER, FAMILIES, PHYSICAL, both, family_name
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import SOURCE_RULE
from lab.messages import new_transaction
from lab.namespace import Namespace, require_isolation
from lab.observe import NO_LEAK
from lab.probe import DEVICE_BOUND, SOURCE_BOUND, UNBOUND, Binding, connect, send
from lab.samples import STUN, Sample
from lab.second_lock import Frame, Frames, cables, hardware_address, packet_socket, up, without_rules
from lab.topology import Lab
from lab.wire import Wire
from lab.wireguard import SERVER_INTERFACE

README = Path(__file__).parents[2] / "rules/README.md"
BEGIN, END = "<!-- the coverage table -->\n", "<!-- end of the coverage table -->\n"

MARKER = Sample("no STUN", lambda nonce: b"no STUN " + nonce, port=50001)
"""Goes after the others by the same way, and passes in every state: what came before it has passed, or never will."""

SECOND_ADDRESS: dict[int, str] = {AF_INET: "10.88.0.3", AF_INET6: "fd88::3"}
"""Of the container: a routing rule leads what comes from it outside the VPN."""


class Where(StrEnum):
    """Where a message was seen."""

    OUTSIDE = "leaves"
    VPN = "VPN"
    NOWHERE = "sealed"


@dataclass(frozen=True)
class Sender:
    """A way to send: `place` is where the program runs, `how` what it sends by."""

    place: str
    how: str
    send: Callable[[Lab, int, Sample, bytes], None]

    @property
    def skips_first_lock(self) -> bool:
        """Whether its packets pass no rule of the first lock, so that only the second holds them."""
        return self.place == "bridged" or (self.place, self.how) == ("local", "packet socket")


def by_socket(namespace: str, binding: dict[int, Binding]) -> Callable[[Lab, int, Sample, bytes], None]:
    def send_it(lab: Lab, family: int, sample: Sample, nonce: bytes) -> None:
        source: Namespace = getattr(lab, namespace)
        server = ECHO_SERVER[family], sample.port
        with connect(source, server, binding[family], sample.kind) as sock, suppress(ConnectionError):
            send(sock, sample.make(nonce))

    return send_it


def by_frames(
    namespace: str, device: str, sender: dict[int, str]
) -> Callable[[Lab, int, Sample, bytes], None]:
    def send_it(lab: Lab, family: int, sample: Sample, nonce: bytes) -> None:
        how = Frame(
            kind=IPPROTO_TCP if sample.kind == SOCK_STREAM else IPPROTO_UDP,
            port=sample.port,
            sender=sender[family],
        )
        if device == "eth0":
            # The container's gateway: the client forwards no broadcasts.
            how = replace(how, receiver=hardware_address(lab.client, "box0"))
        with packet_socket(getattr(lab, namespace), device, family, how) as write:
            write(sample.make(nonce))

    return send_it


SENDERS = (
    Sender("local", "unbound", by_socket("client", both(UNBOUND))),
    Sender("local", "source", by_socket("client", SOURCE_BOUND)),
    Sender("local", "device", by_socket("client", both(DEVICE_BOUND))),
    Sender("local", "packet socket", by_frames("client", PHYSICAL, CLIENT)),
    Sender("container", "unbound", by_socket("box", both(UNBOUND))),
    Sender("container", "source", by_socket("box", {f: Binding(source=SECOND_ADDRESS[f]) for f in FAMILIES})),
    Sender("container", "device", by_socket("box", both(Binding(device="eth0")))),
    Sender("container", "packet socket", by_frames("box", "eth0", SECOND_ADDRESS)),
    # A bridge sees the same frames, whatever the machine binds its sockets to.
    Sender("bridged", "any", by_frames("box", "guest0", CLIENT)),
)
VPN_STATES = ("up", "down")
DAEMON_STATES = ("daemon up", "daemon dead", "rules flushed")

Key = tuple[Sender, int, Sample]
Seen = dict[Key, Where]
Cells = dict[tuple[Key, str, str], Where]
"""By message, state of the VPN and state of the daemon."""


class Watch:
    """Sees what leaves the client, inside and outside the VPN, from entering to leaving."""

    def __init__(self, lab: Lab) -> None:
        self._wire = Wire(lab)
        self._bridged = Frames(lab.isp, "bridged")
        self._tunnel = Frames(lab.server, SERVER_INTERFACE)

    def __enter__(self) -> "Watch":
        self._stack = ExitStack()
        for capture in (self._wire, self._bridged, self._tunnel):
            self._stack.enter_context(capture)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def find(self, nonces: dict[Key, bytes]) -> Seen:
        """Where each message was seen so far."""
        outside = [packet.frame for packet in self._wire.outside()] + self._bridged.frames
        everything, inside = b"\n".join(outside), b"\n".join(self._tunnel.frames)
        return {
            key: Where.OUTSIDE if nonce in everything else Where.VPN if nonce in inside else Where.NOWHERE
            for key, nonce in nonces.items()
        }


def look(lab: Lab, keys: Iterable[Key]) -> Seen:
    """Send each message, and see where it goes."""
    nonces: dict[Key, bytes] = {}
    with Watch(lab) as watch:

        def send_by(key: Key) -> None:
            sender, family, sample = key
            nonce = new_transaction()
            sender.send(lab, family, sample, nonce)
            nonces[key] = nonce[: sample.nonce]

        def passes(key: Key) -> bool:
            send_by(key)
            with suppress(TimeoutError):
                until(lambda: watch.find({key: nonces[key]})[key] is not Where.NOWHERE, 0.3, "")
                return True
            return False

        for key in keys:
            send_by(key)
        until(lab.queues_empty, 10, "a verdict for every packet")
        for sender, family in {(sender, family): None for sender, family, _ in keys}:
            marker = (sender, family, MARKER)
            until(lambda marker=marker: passes(marker), 10, f"no STUN, {sender.place} {sender.how}")  # type: ignore[misc]
            del nonces[marker]
        return watch.find(nonces)


def look_for(lab: Lab, wanted: Iterable[Key], seen: Seen) -> Seen:
    """Look again, at most twice, for what should have been seen: a datagram may be lost."""
    for _ in range(2):
        lost = [key for key in wanted if seen[key] is Where.NOWHERE]
        seen |= look(lab, lost) if lost else {}
    return seen


@contextmanager
def daemon(lab: Lab, state: str) -> Iterator[None]:
    """stunwall in this state."""
    with Agent(lab) as agent:
        assert up(agent)
        if state == "daemon dead":
            agent.kill()
            yield
        elif state == "rules flushed":
            # It is stopped, so that it does not put them back at once.
            with without_rules(lab, agent):
                lab.masquerade_box()
                yield
        else:
            yield


@contextmanager
def bypasses(lab: Lab) -> Iterator[None]:
    """What leads each sender outside the VPN."""
    with cables(lab), ExitStack() as stack:
        for family in FAMILIES:
            address = f"{SECOND_ADDRESS[family]}/{24 if family == AF_INET else 64}"
            # Deprecated, so that only who binds to it uses it (RFC 6724 §5, rule 3).
            deprecated = "" if family == AF_INET else "nodad preferred_lft 0"
            lab.box.ip(f"addr add {address} dev eth0 {deprecated}")
            stack.callback(lab.box.ip, f"addr del {address} dev eth0")
            stack.enter_context(lab.client.rule(SOURCE_RULE.rule[family], family))
            rule = f"from {SECOND_ADDRESS[family]} lookup main pref 101"
            stack.enter_context(lab.client.rule(rule, family))
        yield


def measure(lab: Lab, samples: Iterable[Sample]) -> Iterator[tuple[str, str, Seen, Seen]]:
    """Yield for each state of VPN and daemon: both, what was seen without stunwall, and with it."""
    keys = [(sender, family, sample) for sender in SENDERS for family in FAMILIES for sample in samples]
    with bypasses(lab):
        for vpn in VPN_STATES:
            if vpn == "up":
                lab.vpn.up(ipv6=True)
            else:
                lab.vpn.down()
            control = look_for(lab, keys, look(lab, keys))
            through = [key for key in keys if control[key] is Where.VPN]
            for state in DAEMON_STATES:
                with daemon(lab, state):
                    seen = look_for(lab, through, look(lab, keys))
                yield vpn, state, control, seen
                lab.client.nft("flush ruleset")
                lab.masquerade_box()


def faults(vpn: str, state: str, control: Seen, seen: Seen) -> Iterator[str]:
    """What is not as promised, in words."""
    for key, where in seen.items():
        sender, family, sample = key
        name = f"{sample.name} {family_name(family)}, {sender.place} {sender.how}, VPN {vpn}, {state}"
        if control[key] is Where.NOWHERE:
            yield f"{name}: {NO_LEAK}"
        elif control[key] is Where.VPN and where is not Where.VPN:
            yield f"{name}: {where}, and should pass through the VPN"
        elif control[key] is Where.OUTSIDE and where is not Where.NOWHERE and not is_known(sender, state):
            yield f"{name}: LEAK"


def is_known(sender: Sender, state: str) -> bool:
    """Whether SECURITY.md names this gap: nft before 1.1 cannot keep the second lock when the daemon dies."""
    return state == "daemon dead" and sender.skips_first_lock


Row = tuple[str, str, str]
"""Place, binding and state of the VPN."""


def rows() -> list[Row]:
    return [(sender.place, sender.how, vpn) for sender in SENDERS for vpn in VPN_STATES]


def table(cells: dict[tuple[Row, str], Counter[Where]]) -> str:
    """The table in Markdown: how many messages were seen where, and the names of their kinds."""
    lines = [
        f"| sent from | bound to | VPN | {' | '.join(DAEMON_STATES)} |",
        "| --- " * (3 + len(DAEMON_STATES)) + "|",
    ]
    for row in rows():
        shown = (", ".join(f"{where} {n}" for where, n in cells[row, s].items()) for s in DAEMON_STATES)
        lines.append(f"| {' | '.join((*row, *shown))} |")
    return "\n".join(lines) + "\n\n" + kinds() + "\n"


def kinds() -> str:
    names = ", ".join(f"`{sample.name}`" for sample in STUN)
    return fill(f"The {len(STUN)} kinds of messages, as `tests/lab/samples.py` names them: {names}.", 120)


def main() -> int:
    try:
        require_isolation()
    except RuntimeError as error:
        sys.exit(str(error).replace("run.sh lab", "run.sh matrix"))
    cells: dict[tuple[Row, str], Counter[Where]] = {}
    found: list[str] = []
    with Lab() as lab:
        for vpn, state, control, seen in measure(lab, STUN):
            print(f"\nVPN {vpn}, {state}:")
            found += faults(vpn, state, control, seen)
            for (sender, family, sample), where in seen.items():
                print(f"  {sender.place:9} {sender.how:13} {family_name(family)} {sample.name:28} {where}")
                cells.setdefault(((sender.place, sender.how, vpn), state), Counter())[where] += 1
    print("\n" + table(cells))
    print("\n".join(found) or "Every cell is as promised.")
    if "--write" in sys.argv[1:] and not found:
        before, rest = README.read_text().split(BEGIN)
        README.write_text(before + BEGIN + "\n" + table(cells) + "\n" + END + rest.split(END)[1])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
