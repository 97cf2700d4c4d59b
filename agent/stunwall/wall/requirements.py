"""The kernel features that the table needs, and how to get one that is missing. No I/O."""

from collections.abc import Callable

# Name of the feature, a rule to try it with, the kernel option or version it needs, and its module.
_PIECES = (
    ("nftables", "", "CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET", "nf_tables"),
    ("matching the payload of TCP (@ih)", "@ih,32,32 0", "Linux 5.16 or newer", "nf_tables"),
    ("exemptions from connection tracking in nftables", "notrack", "CONFIG_NFT_CT", "nft_ct"),
    ("rate limits in nftables", "limit rate 1/second", "CONFIG_NFT_LIMIT", "nft_limit"),
    ("the clock in nftables", "meta time < 1", "Linux 5.4 or newer", "nf_tables"),
    ("IPsec in nftables", "rt ipsec exists", "CONFIG_XFRM", "xfrm_user"),
    (
        "IP options and extension headers in nftables",
        "ip option lsrr exists",
        "Linux 5.3 or newer",
        "nf_tables",
    ),
)
# For redirect.nft.
_REDIRECT_PIECES = (
    ("connection tracking in nftables", "ct direction reply", "CONFIG_NFT_CT", "nft_ct"),
    (
        "address translation in nftables",
        "type nat hook postrouting priority 99; meta mark 1 snat ip to 192.0.2.1",
        "CONFIG_NFT_NAT",
        "nft_nat",
    ),
)


def missing(
    refused: Callable[[str], str | None], load: Callable[[str], str], *, redirect: bool
) -> str | None:
    """Return what is missing and how to get it, None if nothing is missing. `redirect`: with mode = "redirect".

    `refused(text)` tries a ruleset without loading it, and returns what the kernel said against it. `load(module)`
    returns how to load a module.
    """
    pieces = _PIECES + (_REDIRECT_PIECES if redirect else ())
    if not refused(_table(*(rule for _, rule, *_ in pieces))):
        return None
    for name, rule, option, module in pieces:
        if complaint := refused(_table(rule)):
            return (
                f"the kernel lacks {name}. It needs {option} (module {module}): {load(module)}. "
                f"nft said: {complaint}"
            )
    return None


def _table(*rules: str) -> str:
    chains = "".join(f"chain probe{number} {{\n{rule}\n}}\n" for number, rule in enumerate(rules) if rule)
    return f"table inet stunwall_probe {{\n{chains}}}\n"


_EGRESS = 'chain probe {\ntype filter hook egress device "lo" priority 0\n}\n'


def missing_for_second_lock(refused: Callable[[str], str | None]) -> str | None:
    """Return what the second lock lacks and how to get it, None if nothing; `refused` is as for missing().

    The flag `owner` is older than the egress hook, in the kernel (5.12) and in nft (0.9.9).
    """
    complaint = refused(f"table netdev stunwall_probe {{\nflags owner\n{_EGRESS}}}\n")
    if complaint is None:
        return None
    return (
        "the kernel lacks the egress hook of nftables. It needs Linux 5.16 or newer with CONFIG_NETFILTER_EGRESS, and "
        f"nft 1.0.1 or newer: try the distribution's stock kernel. nft said: {complaint}"
    )


def queues(refused: Callable[[str], str | None]) -> bool:
    """Whether nftables has the statement `queue` (CONFIG_NFT_QUEUE); otherwise the xtables target NFQUEUE is used."""
    return refused("table inet stunwall_probe {\nchain probe {\nqueue to 0\n}\n}\n") is None
