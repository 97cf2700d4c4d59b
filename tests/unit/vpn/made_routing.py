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


def maybe(word: str, *values: str) -> st.SearchStrategy[str]:
    """A selector, mostly absent."""
    return st.sampled_from(("",) * 2 * len(values) + tuple(f"{word} {value}" for value in values))


def rules(version: int) -> st.SearchStrategy[str]:
    to_table = words(
        st.sampled_from(TABLES).map("table {}".format), maybe("suppress_prefixlength", "0", "24", "48")
    )
    to_others = st.sampled_from(("goto 40", "goto 55", "nop", *FORBIDDING))
    return words(
        st.sampled_from(("", "", "", "not")),
        maybe("from", *OWN[version], BEHIND[version]),
        maybe("to", *NETWORKS[version][1:]),
        maybe("iif", "lo", *DEVICES, "nsgone"),
        maybe("oif", *DEVICES),
        maybe("fwmark", "0x1", "0x2/0x3", "0x0/0x1"),
        maybe("uidrange", "0-0", "1000-2000"),
        maybe("ipproto", "udp", "tcp"),
        maybe("sport", "40000", "1-1023"),
        maybe("dport", "3478", "1024-65535"),
        st.one_of(to_table, to_table, to_others),
    )


def routes(version: int) -> st.SearchStrategy[str]:
    network = st.sampled_from(NETWORKS[version])
    device = st.sampled_from(DEVICES).map("dev {}".format)
    several = st.just(" ".join(f"nexthop dev {name}" for name in DEVICES))
    source = maybe("from", *(f"{own}/128" for own in OWN[6])) if version == 6 else st.just("")
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
