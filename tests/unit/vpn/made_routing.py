"""Random rules and routes, in the kernel: what the tests of walk.py and iproute.py share."""

import subprocess

from hypothesis import strategies as st

from unit.tun import ip

DEVICES = ("nswa", "nswb")
OWN = {4: ("192.0.2.17", "10.8.0.2"), 6: ("2001:db8:a::2", "fd08::2")}
BEHIND = {4: "192.0.2.99", 6: "2001:db8:a::99"}  # a machine that packets are forwarded for
TARGETS = {
    4: ("203.0.113.1", "203.0.113.130", "198.51.100.1", "10.8.0.2"),
    6: ("2001:db8:1::1", "2001:db8:1:8000::1", "2001:db8:2::1", "fd08::2"),
}
NETWORKS = {
    4: ("default", "203.0.113.0/24", "203.0.113.128/25", "203.0.113.1/32", "198.51.0.0/16"),
    6: ("default", "2001:db8:1::/48", "2001:db8:1:8000::/49", "2001:db8:1::1/128", "2001:db8::/32"),
}
TABLES = ("main", "main", "100", "101")  # the main one is always reached
FORBIDDING = ("blackhole", "unreachable", "prohibit")


def words(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda found: " ".join(filter(None, found)))


def selectors(version: int) -> tuple[str, ...]:
    """What rules can select by."""
    return (
        *(f"from {address}" for address in (*OWN[version], BEHIND[version])),
        *(f"to {network}" for network in NETWORKS[version][1:]),
        *(f"iif {name}" for name in ("lo", *DEVICES, "nsgone")),
        *(f"oif {name}" for name in DEVICES),
        *("fwmark 0x1", "fwmark 0x2/0x3", "fwmark 0x0/0x1", "uidrange 0-0", "uidrange 1000-2000"),
        *("ipproto udp", "ipproto tcp", "sport 40000", "sport 1-1023", "dport 3478", "dport 1024-65535"),
    )


def rules(version: int) -> st.SearchStrategy[str]:
    """Rules with two selectors at most, so that many of them match."""
    chosen = st.lists(
        st.sampled_from(selectors(version)), max_size=2, unique_by=lambda each: each.split()[0]
    ).map(" ".join)
    suppressing = st.sampled_from(("", "", "suppress_prefixlength 0", "suppress_prefixlength 24"))
    to_table = words(st.sampled_from(TABLES).map("table {}".format), suppressing)
    to_others = st.sampled_from(("goto 40", "goto 55", "nop", *FORBIDDING))
    inverted = st.sampled_from(("", "", "", "not"))
    return words(inverted, chosen, st.one_of(to_table, to_table, to_others))


def routes(version: int) -> st.SearchStrategy[str]:
    network = st.sampled_from(NETWORKS[version])
    device = st.sampled_from(DEVICES).map("dev {}".format)
    several = st.just(" ".join(f"nexthop dev {name}" for name in DEVICES))
    source = st.sampled_from(("", "", *(f"from {own}/128" for own in OWN[6] if version == 6)))
    leading = words(network, source, st.one_of(device, device, several))
    return words(
        st.one_of(leading, leading, words(st.sampled_from((*FORBIDDING, "throw")), network)),
        st.sampled_from(TABLES).map("table {}".format),
        st.sampled_from(("metric 10", "metric 20")),
    )


def configure(version: int, some_rules: list[str], some_routes: list[str]) -> None:
    """What the kernel refuses, as a second route with the same key, is left out."""
    family = f"-{version}"
    lines = [f"route flush table {table}" for table in set(TABLES)]
    lines += ["rule flush"]  # all but that to the table local
    lines += [f"route add {each}" for each in some_routes]
    lines += [f"rule add pref {10 * number} {each}" for number, each in enumerate(some_rules, 1)]
    lines += ["rule add pref 55 nop", "rule add pref 60 table main"]
    subprocess.run(
        ["ip", family, "-force", "-batch", "-"],
        input="\n".join(lines),
        text=True,
        capture_output=True,
        check=False,
    )


def restore() -> None:
    """The rules that the kernel begins with (net/ipv4/fib_rules.c, fib_default_rules_init), and no routes."""
    for version in (4, 6):
        configure(version, [], [])
        for line in ("rule del pref 55", "rule del pref 60", "rule add pref 32766 table main"):
            ip(f"-{version}", *line.split())
    ip("-4", *["rule", "add", "pref", "32767", "table", "default"])
