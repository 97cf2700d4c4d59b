"""A STUN server that somebody hosts behind stunwall: on the client, or in a container with a published port."""

from ipaddress import ip_address
from socket import SOCK_DGRAM, SOCK_STREAM
from typing import Any

from lab.messages import BINDING_SUCCESS, COOKIE, XOR_MAPPED_ADDRESS, attribute, message, transaction_of
from lab.namespace import Namespace
from lab.server import Server

FAMILY = {4: b"\0\1", 6: b"\0\2"}  # RFC 8489 §14.1


class Responder(Server):
    """Answers Binding Requests over UDP and TCP on `port` of these addresses."""

    resets = True

    def __init__(self, namespace: Namespace, port: int, *addresses: str) -> None:
        self.heard: list[bytes] = []
        """The transaction ID of each message that arrived."""
        kinds = (SOCK_DGRAM, SOCK_STREAM)
        super().__init__(namespace, [(kind, address, port) for address in addresses for kind in kinds])

    def reply(self, payload: bytes, sender: tuple[Any, ...]) -> bytes:
        transaction = transaction_of(payload)
        self.heard.append(transaction)
        ip = ip_address(sender[0])
        mask = COOKIE + transaction
        address = bytes(a ^ b for a, b in zip(ip.packed, mask, strict=False))
        port = (sender[1] ^ int.from_bytes(COOKIE[:2], "big")).to_bytes(2, "big")
        value = FAMILY[ip.version] + port + address
        return message(BINDING_SUCCESS, attribute(XOR_MAPPED_ADDRESS, value), transaction)
