"""stunwalld, which refuses in another way on each of the ports in PORTS: what bench/refusals.py measures.

As `python -m stunwall.daemon`. Packets, verdicts and sockets are the daemon's own; only what it answers differs.
"""

from collections.abc import Callable

from lab.messages import XOR_MAPPED_ADDRESS, attribute
from stunwall.daemon.main import main
from stunwall.model import Refusal
from stunwall.queue import refusal

ERROR_CODE, REALM, NONCE = 0x0009, 0x0014, 0x0015  # RFC 8489 §18.3
COOKIE = bytes.fromhex("2112a442")
Answer = Callable[[Refusal], list[bytes]]
_today = refusal.packets


def error(code: int, phrase: bytes, further: bytes = b"") -> Answer:
    value = bytes((0, 0, code // 100, code % 100)) + phrase
    return _response(0x0110, lambda _: attribute(ERROR_CODE, value) + further)


def _response(kind: int, attributes: Callable[[Refusal], bytes]) -> Answer:
    def packets(refused: Refusal) -> list[bytes]:
        blocked = refused.blocked.payload
        head = int.from_bytes(blocked[:2], "big") | kind
        body = attributes(refused)
        response = head.to_bytes(2, "big") + len(body).to_bytes(2, "big") + blocked[4:20] + body
        return _today(refused._replace(response=response))

    return packets


def _own_address(refused: Refusal) -> bytes:
    sender = refused.blocked
    mask = COOKIE + sender.payload[8:20]
    address = bytes(a ^ b for a, b in zip(sender.source.packed, mask, strict=False))
    port = (sender.source_port ^ 0x2112).to_bytes(2, "big")
    return attribute(XOR_MAPPED_ADDRESS, bytes((0, 1 if sender.family == 4 else 2)) + port + address)


def _icmp(refused: Refusal) -> list[bytes]:
    return _today(refused._replace(response=b""))


CHALLENGE = attribute(REALM, b"example.org") + attribute(NONCE, b"59b6a4f1d2c3e807")
ANSWERS: dict[str, Answer] = {
    "as it is": _today,
    "403 Forbidden": error(403, b"Forbidden"),
    "403, no phrase": error(403, b""),
    "400 Bad Request": error(400, b"Bad Request"),
    "401 Unauthorized": error(401, b"Unauthorized"),
    "401, realm, nonce": error(401, b"Unauthorized", CHALLENGE),
    "420 Unknown Attribute": error(420, b"Unknown Attribute"),
    "500 Server Error": error(500, b"Server Error"),
    "600, no phrase": error(600, b""),
    "700, no phrase": error(700, b""),
    "300 Try Alternate": error(300, b"Try Alternate"),
    "error without a code": _response(0x0110, lambda _: b""),
    "success, own address": _response(0x0100, _own_address),
    "success, no address": _response(0x0100, lambda _: b""),
    "ICMP or reset": _icmp,
    "nothing": lambda _: [],
}
PORTS = dict(zip(range(4001, 5000), ANSWERS.values(), strict=False))


def _packets(refusal: Refusal) -> list[bytes]:
    return PORTS.get(refusal.blocked.destination_port, _today)(refusal)


if __name__ == "__main__":
    refusal.packets = _packets
    main()
