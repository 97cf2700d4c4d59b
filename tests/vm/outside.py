"""The lab with a virtual machine in the client's place."""

from contextlib import ExitStack
from functools import partial
from socket import AF_INET, SOCK_DGRAM
from typing import Any

from lab.addresses import STUN_PORT, STUN_SERVER
from lab.deadline import until
from lab.messages import binding_request
from lab.probe import UNBOUND, Binding, ask
from lab.topology import Outside
from lab.wireguard import WireGuard
from vm import inside
from vm.machine import Machine


class MachineLab(Outside):
    """Everything but the client; `machine` is whichever was plugged in last."""

    vpn: WireGuard
    machine: Machine

    def _bring_client(self, stack: ExitStack) -> None:
        self.isp.ip("tuntap add dev home mode tap")

    def _finish(self, stack: ExitStack) -> None:
        # Its server end only: the client is the machine.
        self.vpn = WireGuard(self.isp, self.server)
        stack.callback(self.vpn.close)
        for address in STUN_SERVER.values():
            until(partial(ask, self.isp, (address, STUN_PORT), binding_request()), 10, f"STUN at {address}")

    def ask(
        self,
        server: tuple[str, int],
        payload: bytes,
        binding: Binding = UNBOUND,
        kind: int = SOCK_DGRAM,
        seconds: float = 2.0,
    ) -> bytes | None:
        """As lab.probe.ask, from inside the machine."""
        reply = self.call(inside.ask, server, payload.hex(), inside.encode(binding), int(kind), seconds)
        return None if reply is None else bytes.fromhex(reply)

    def send_marker(self, family: int, marker: bytes) -> None:
        self.call(inside.send_marker, int(family), marker.hex())

    def queues_empty(self) -> bool:
        return bool(self.call(inside.queues_empty))

    def call(self, function: Any, *arguments: Any) -> Any:
        """What a function of inside.py or ways.py returns inside the machine; all of it has to be JSON."""
        return self.machine.channel.call(f"{function.__module__}:{function.__name__}", *arguments)


class IPv4Only:
    """The lab for lab.wire.Wire where the machine has no IPv6: all of its markers go by IPv4."""

    def __init__(self, lab: MachineLab) -> None:
        self.isp = lab.isp
        self._lab = lab

    def send_marker(self, _family: int, marker: bytes) -> None:
        self._lab.send_marker(AF_INET, marker)

    def queues_empty(self) -> bool:
        return self._lab.queues_empty()
