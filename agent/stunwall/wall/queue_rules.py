"""The queue rules, which hand STUN to stunwalld while it runs."""

import struct

from stunwall.wall import nft
from stunwall.wall.contents import TABLE
from stunwall.wall.nft import NftError, NftPermissionError

_NFPROTO_INET = 1  # linux/netfilter.h
# The chains that hold a queue rule, and how the comment of the counting rule in each begins.
CHAINS = {"to_stunwalld": "to stunwalld on queue", "output_to_stunwalld": "output: to stunwalld on queue"}


def attach(queue: int) -> None:
    """Put the queue rules in front of the drop. Packets are dropped, too, while nobody listens on `queue`.

    Uses the statement `queue` if the kernel has it, otherwise the xtables target NFQUEUE. Raises NftError.
    """
    # The counting rule names the queue, because nft cannot read back the fallback's rule.
    counted = "".join(
        f'flush chain {TABLE} {chain}\nadd rule {TABLE} {chain} counter comment "{comment} {queue}"\n'
        for chain, comment in CHAINS.items()
    )
    queued = "".join(f"add rule {TABLE} {chain} queue to {queue}\n" for chain in CHAINS)
    try:
        nft.apply(counted + queued)
    except NftPermissionError:
        raise
    except NftError as native:
        nft.apply(counted)
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            _attach_by_target(queue)
        except (NetlinkError, OSError) as error:
            raise NftError(
                "the kernel cannot hand packets to a program: it has neither the nftables statement `queue` "
                f"(CONFIG_NFT_QUEUE, module nft_queue: {native}) nor the xtables target NFQUEUE "
                f"(CONFIG_NETFILTER_XT_TARGET_NFQUEUE and CONFIG_NFT_COMPAT, modules xt_NFQUEUE and "
                f"nft_compat: {error}). Load one of them with modprobe; some distributions ship them in an "
                "extra package (Ubuntu: linux-modules-extra-$(uname -r))"
            ) from error


def detach() -> None:
    """Take the queue rules out: STUN outside the VPN is then dropped unseen. Raises NftError."""
    nft.apply("".join(f"flush chain {TABLE} {chain}\n" for chain in CHAINS))


def _attach_by_target(queue: int) -> None:
    from pyroute2.nftables.main import NFTables  # slow to import, and only kernels without NFT_QUEUE need it

    # linux/netfilter/xt_NFQUEUE.h, struct xt_NFQ_info_v3: queue, number of queues, flags; padded to 8 bytes
    info = struct.pack("=HHHxx", queue, 1, 0)
    target = [
        ("NFTA_TARGET_NAME", "NFQUEUE"),
        ("NFTA_TARGET_REV", 3),
        ("NFTA_TARGET_INFO", info),
    ]
    expression = {"attrs": [("NFTA_EXPR_NAME", "target"), ("NFTA_EXPR_DATA", {"attrs": target})]}
    with NFTables(nfgen_family=_NFPROTO_INET) as netlink:
        for chain in CHAINS:
            netlink.rule("add", table="stunwall", chain=chain, expressions=[[expression]])
