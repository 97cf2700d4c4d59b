"""The queue rules, which hand STUN to stunwalld while it runs."""

import struct
from collections.abc import Collection

from stunwall.wall import modules
from stunwall.wall.contents import TABLE, Addition
from stunwall.wall.nft import Nft, NftError, NftPermissionError

_NFPROTO_INET = 1  # linux/netfilter.h
_SUBSYSTEM = 10  # linux/netfilter/nfnetlink.h: NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11  # the same: NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END
_NEWRULE = _SUBSYSTEM << 8 | 6  # linux/netfilter/nf_tables.h: NFT_MSG_NEWRULE
_REQUEST = 0x0001  # linux/netlink.h: NLM_F_REQUEST
_ADD = _REQUEST | 0x0400 | 0x0800 | 0x0004  # NLM_F_CREATE, NLM_F_APPEND, NLM_F_ACK
_NESTED = 0x8000  # NLA_F_NESTED
# The chains that hold a queue rule, and how the comment of the counting rule in each begins.
CHAINS = {
    "to_stunwalld": "to stunwalld on queue",
    "response_to_stunwalld": "inbound: to stunwalld on queue",
    "output_to_stunwalld": "output: to stunwalld on queue",
    "handshake_to_stunwalld": "handshakes: to stunwalld on queue",
}
# Those that are not in stunwall.nft.
_ADDED = {"output_to_stunwalld": Addition.REDIRECT, "handshake_to_stunwalld": Addition.BOUND_TCP}
# What passes while nobody listens: it is no STUN.
_BYPASSING = frozenset({"handshake_to_stunwalld"})
_BYPASS = 0x01  # linux/netfilter/xt_NFQUEUE.h: NFQ_FLAG_BYPASS


def chains(additions: Collection[Addition]) -> list[str]:
    """Return the chains that hold a queue rule, where these files are loaded after stunwall.nft."""
    return [each for each in CHAINS if each not in _ADDED or _ADDED[each] in additions]


def attach(nft: Nft, queue: int, additions: Collection[Addition] = ()) -> None:
    """Put the queue rules in front of the drop. STUN is dropped, too, while nobody listens on `queue`.

    Uses the statement `queue` if the kernel has it, otherwise the xtables target NFQUEUE. Raises NftError.
    """
    # The counting rule names the queue, because nft cannot read back the fallback's rule.
    counted = "".join(
        f'flush chain {TABLE} {chain}\nadd rule {TABLE} {chain} counter comment "{CHAINS[chain]} {queue}"\n'
        for chain in chains(additions)
    )
    queued = "".join(
        f"add rule {TABLE} {chain} queue {'flags bypass ' if chain in _BYPASSING else ''}to {queue}\n"
        for chain in chains(additions)
    )
    try:
        nft.apply(counted + queued)
    except NftPermissionError:
        raise
    except NftError as native:
        nft.apply(counted)
        try:
            _attach_by_target(nft, queue, chains(additions))
        except OSError as error:
            raise NftError(
                "the kernel cannot hand packets to a program: it has neither the nftables statement `queue` "
                f"(CONFIG_NFT_QUEUE, module nft_queue: {native}) nor the xtables target NFQUEUE "
                f"(CONFIG_NETFILTER_XT_TARGET_NFQUEUE and CONFIG_NFT_COMPAT, modules xt_NFQUEUE and "
                f"nft_compat: {error}): {modules.how_to_load('nft_queue')}"
            ) from error


def detach(nft: Nft, additions: Collection[Addition] = ()) -> None:
    """Take the queue rules out: STUN outside the VPN is then dropped unseen. Raises NftError."""
    nft.apply("".join(f"flush chain {TABLE} {chain}\n" for chain in chains(additions)))


def _attach_by_target(nft: Nft, queue: int, chains: list[str]) -> None:
    """Add a rule with the xtables target NFQUEUE to each chain, which nft has no words for. Raises OSError."""
    # linux/netfilter/xt_NFQUEUE.h, struct xt_NFQ_info_v3: queue, number of queues, flags; padded to 8 bytes
    rules = []
    for chain in chains:
        info = struct.pack("=HHHxx", queue, 1, _BYPASS if chain in _BYPASSING else 0)
        target = _attribute(1, b"NFQUEUE\0") + _attribute(2, struct.pack(">I", 3)) + _attribute(3, info)
        expression = _attribute(1, b"target\0") + _attribute(2 | _NESTED, target)
        expressions = _attribute(4 | _NESTED, _attribute(1 | _NESTED, expression))
        place = _attribute(1, b"stunwall\0") + _attribute(2, f"{chain}\0".encode())
        rules.append(_message(_NEWRULE, _ADD, _NFPROTO_INET, 0, place + expressions))
    begin, end = (_message(kind, _REQUEST, 0, _SUBSYSTEM, b"") for kind in (_BEGIN, _END))
    nft.send(begin + b"".join(rules) + end)


def _message(kind: int, flags: int, family: int, resource: int, attributes: bytes) -> bytes:
    """Return a message: struct nlmsghdr, struct nfgenmsg, attributes."""
    body = struct.pack(">BBH", family, 0, resource) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
