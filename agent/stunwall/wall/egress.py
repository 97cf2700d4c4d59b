"""The second lock, table `netdev stunwall`, as nft statements. No I/O."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from stunwall.config import is_quotable
from stunwall.wall.contents import marks

TABLE = "netdev stunwall"
# After what others may do at this hook (their chains mostly have 0), so that the packet is what leaves.
_PRIORITY = 1000
_CHAIN = re.compile(
    r'^\tchain ((?:egress|vpn|inside)_\d+) \{.*\n\t\ttype filter hook egress device "([^"]*)"', re.M
)


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A chain at the egress hook of one interface, and the statements of its rules."""

    device: str
    rules: tuple[str, ...]


@dataclass(frozen=True)  # without slots, for cached_property
class Egress:
    """What belongs in the second lock.

    `out`: the name of every way out by its index. `vpn`: that of every VPN interface. `carried`: that of every
    interface that is the VPN or inside, and whose packets then leave by a way out in the clear, as a VLAN's do.
    `redirect`: the mode is `redirect`. `bridged`: the hardware addresses of bridged machines that may send STUN by
    themselves.
    """

    out: Mapping[int, str]
    vpn: Mapping[int, str]
    guard_ports: frozenset[int]
    carried: Mapping[int, str] = field(default_factory=dict)
    redirect: bool = False
    bridged: frozenset[str] = frozenset()

    @cached_property
    def chains(self) -> dict[str, BaseChain]:
        """Return the base chains by their names."""
        leads = ("goto redirected",) if self.redirect else ("goto out",)
        found = {f"egress_{index}": BaseChain(name, leads) for index, name in self.out.items()}
        for index, name in {**self.vpn, **self.carried}.items():
            rules = ["jump remember"] if self.redirect and index in self.vpn else []
            rules += ["goto pass"] if index in self.carried else []
            if rules:
                found[f"{'vpn' if index in self.vpn else 'inside'}_{index}"] = BaseChain(name, tuple(rules))
        return {name: chain for name, chain in found.items() if is_quotable(chain.device)}

    @property
    def unnameable(self) -> list[str]:
        """The ways out whose names nft has no words for."""
        return sorted(name for name in self.out.values() if not is_quotable(name))


def table(second: str, first: str, mask: int, flags: str, kept: Mapping[str, Iterable[str]]) -> str:
    """Return the statements that make the table, without base chains.

    Args:
        second: the text of second_lock.nft.
        first: the text of stunwall.nft, from which the chains `classify*` and their sets are taken.
        mask: the two mark bits.
        flags: those of the table, as in `owner`.
        kept: elements to begin with, by set.
    """
    rules = re.sub(r"^define .*\n", "", second, flags=re.MULTILINE)
    for name, value in marks(mask).items():
        rules = re.sub(rf"\${name}\b", f"{value:#010x}", rules)
    chains, sets = classify(first)
    head = f"table {TABLE} {{\n"
    text = rules.replace(head, f"{head}    flags {flags};\n{sets}{chains}")
    for name in re.findall(r"^    set (\w+) \{", sets, re.MULTILINE):
        for elements in re.findall(rf"^add element inet stunwall {name} (\{{[^}}]*\}})", first, re.MULTILINE):
            text += f"add element {TABLE} {name} {elements}\n"
    for name, elements in kept.items():
        if elements:
            text += f"add element {TABLE} {name} {{ {', '.join(elements)} }}\n"
    return text


def classify(first: str) -> tuple[str, str]:
    """Return the chains of stunwall.nft to which `classify` leads, except `decide`, and the sets that they look up."""
    chains: dict[str, str] = {}
    wanted = ["classify"]
    while wanted:
        name = wanted.pop()
        if name not in chains and name != "decide":
            chains[name] = _block("chain", name, first)
            wanted += re.findall(r"\b(?:jump|goto) (\w+)", chains[name])
    sets = {name for text in chains.values() for name in re.findall(r" @(\w+)(?![\w,])", text)}
    in_order = [name for name in re.findall(r"^    chain (\w+) \{", first, re.MULTILINE) if name in chains]
    return "".join(chains[name] for name in in_order), "".join(
        _block("set", name, first) for name in sorted(sets)
    )


def _block(kind: str, name: str, text: str) -> str:
    match = re.search(rf"^    {kind} {name} \{{\n.*?^    \}}\n", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(f"stunwall.nft has no {kind} {name}")
    return match[0]


def fill(wanted: Egress, before: Egress | None) -> str:
    """Return the statements that replace the ports and the bridged machines, "" if they are as before."""
    text = ""
    if before is None or wanted.guard_ports != before.guard_ports:
        text += f"flush set {TABLE} guard_ports\n"
        if wanted.guard_ports:
            ports = ", ".join(map(str, sorted(wanted.guard_ports)))
            text += f"add element {TABLE} guard_ports {{ {ports} }}\n"
    if before is None or wanted.bridged != before.bridged:
        text += f"flush chain {TABLE} bridged\n"
        for address in sorted(wanted.bridged):
            # Not `ether saddr`: nft would add a look at the incoming interface, which this hook does not have.
            match = f"@ll,48,48 0x{address.replace(':', '')}"
            text += f'add rule {TABLE} bridged {match} counter accept comment "bridged {address}"\n'
    return text


def add_chain(name: str, chain: BaseChain) -> str:
    """Return the statements that make a base chain anew."""
    hook = f'type filter hook egress device "{chain.device}" priority {_PRIORITY}; policy accept;'
    rules = "".join(f"add rule {TABLE} {name} {rule}\n" for rule in chain.rules)
    return f"{remove_chain(name)}add chain {TABLE} {name} {{ {hook} }}\n{rules}"


def remove_chain(chain: str) -> str:
    """Return the statements that remove a base chain, which may be gone with its device."""
    return f"add chain {TABLE} {chain}\ndelete chain {TABLE} {chain}\n"


def base_chains(listing: str) -> dict[str, str]:
    """Return the device of each base chain in what nft prints, by the chain's name."""
    return dict(_CHAIN.findall(_part(listing)))


def is_in(listing: str) -> bool:
    """Whether the table is in what nft prints of the family."""
    return f"table {TABLE} {{" in listing


def _part(listing: str) -> str:
    """Return our table in a listing of the family."""
    return listing.partition(f"table {TABLE} {{")[2].partition("\n}")[0]


def changes(wanted: Egress, there: Mapping[str, str], before: Egress | None) -> list[str]:
    """Return the statements that bring the base chains in step, a text a chain.

    `there` has the chains that the kernel has and their devices. `before`: what was wanted last.
    """
    chains = wanted.chains
    # A name is no proof that the hook is there: where a link was renamed, the kernel may still print the old one.
    known = {} if before is None else before.chains
    gone = [remove_chain(name) for name in there if name not in chains]
    return gone + [
        add_chain(name, chain)
        for name, chain in chains.items()
        if there.get(name) != _printed(chain.device) or known.get(name) != chain
    ]


def _printed(name: str) -> str:
    """Return an interface's name as in what nft prints, where a byte that is not UTF-8 is replaced (nft.py)."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
