"""network.py and rtnetlink.py: what was followed change by change is what a whole dump shows."""

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroute2 import IPRoute

from stunwall.vpn import inside, interfaces
from stunwall.vpn.inside import Evidence
from stunwall.vpn.interfaces import Snapshot
from stunwall.vpn.rtnetlink import Rtnetlink
from unit.tun import Tun
from unit.vpn.dumped import dumped

# Tun devices that may be the VPN, a veth pair, a bridge, and what lies on one end of the pair.
TUNS, OTHERS = ("nft0", "nft1"), ("nfv0", "nfv1", "nfb0", "nfm0")
MADE = """
    link add nfv0 type veth peer name nfv1
    link add nfb0 type bridge
    link add nfm0 link nfv0 type macvlan
"""
TABLES = ("", " table 77", " table 78")


def commands() -> st.SearchStrategy[str]:
    """Lines for `ip -batch`; many of them fail, as their turn comes at the wrong time."""
    name = st.sampled_from(TUNS + OTHERS)
    tun = st.sampled_from(TUNS)
    address = st.sampled_from(("10.7.0.1/24", "10.7.0.2/24", "192.0.2.9/32", "fd07::1/64", "fd07::2/64"))
    destination = st.sampled_from(
        ("default", "0.0.0.0/1", "128.0.0.0/1", "192.168.7.0/24", "203.0.113.0/24", "10.99.0.0/16")
    )
    destination6 = st.sampled_from(
        ("default", "2000::/3", "2000::/4", "3000::/4", "fd99::/64", "2001:db8::/48")
    )
    how = st.sampled_from(("add", "append", "prepend", "replace", "del", "change"))
    table, metric = st.sampled_from(TABLES), st.sampled_from(("", " metric 7"))
    source = st.sampled_from(("", "", " src 10.7.0.1", " src 10.7.0.2"))
    via = st.sampled_from(("", "", " via 10.7.0.9"))
    via6 = st.sampled_from(("", " via fd07::9", " via fe80::9"))

    def line(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.tuples(*parts).map(lambda given: template.format(*given))

    return st.one_of(
        line("link set {} up", name),
        line("link set {} up", name),
        line("link set {} down", name),
        line("address add {} dev {}", address, name),
        line("address add {} dev {} valid_lft 900 preferred_lft 900", address, name),
        line("address del {} dev {}", address, name),
        line("address flush dev {}", name),
        line("route {} {}{} dev {}{}{}{}", how, destination, via, name, table, metric, source),
        line("route {} {} dev {}{}{}{}", how, destination, tun, table, metric, source),
        line("route {} {}{} nexthop dev {} nexthop dev {}", how, destination, table, name, name),
        line("route {} blackhole {}{}{}", how, destination, table, metric),
        line("-6 route {} {}{} dev {}{}{}", how, destination6, via6, name, table, metric),
        line(
            "-6 route {} {}{} nexthop{} dev {} nexthop{} dev {}",
            how,
            destination6,
            table,
            via6,
            name,
            via6,
            name,
        ),
        line("-6 route {} blackhole {}{}{}", how, destination6, table, metric),
        line("route flush{}", st.sampled_from(TABLES[1:])),
        line(
            "{} rule {} from 10.7.0.1 lookup {}",
            *map(st.sampled_from, (("", "-6"), ("add", "del"), ("77", "78"))),
        ),
        line("link set {} master nfb0", name),
        line("link set {} nomaster", name),
        line("link del {}", name),
        st.sampled_from(MADE.strip().split("\n")),
        line("tuntap add {} mode {}", tun, st.sampled_from(("tun", "tap"))),
        line("nexthop replace id 7 {} dev {}", st.sampled_from(("", "via 10.7.0.9")), name),
        st.just("nexthop del id 7"),
        line("route {} {}{} nhid 7", how, destination, table),
    )


def run(lines: list[str]) -> None:
    subprocess.run(
        ["ip", "-force", "-batch", "-"],
        input="".join(f"{line}\n" for line in lines),
        text=True,
        capture_output=True,
    )


class Following:
    """A network that is followed, beside what pyroute2 dumps."""

    def __init__(self, named: tuple[str, ...]) -> None:
        self.named = named
        self.rtnetlink = Rtnetlink(frozenset({4, 6}), named, lan=True)
        self.rtnetlink.read()
        self._netlink = IPRoute()
        self._evidence: Evidence = {}
        self._before = self._followed(self.rtnetlink.snapshot())

    def close(self) -> None:
        self.rtnetlink.close()
        self._netlink.close()

    def differences(self) -> list[str]:
        """What is not as in a dump, or has changed although `changed` denies it."""
        while select.select([self.rtnetlink], [], [], 0)[0]:
            self.rtnetlink.receive()
        network = self.rtnetlink.network
        assert not network.wanted
        changed = network.changed
        ours, theirs = self.rtnetlink.snapshot(), dumped(self._netlink)
        before, self._before = self._before, self._followed(ours)
        assert changed or self._before == before
        _, self._evidence = inside.assess(
            theirs, interfaces.assess(theirs, ()), inside.Named(), self._evidence
        )
        one, other = self._shown(ours), self._shown(theirs)
        found = [f"{what}: {one[what]} instead of {other[what]}" for what in one if one[what] != other[what]]
        # A nexthop object is evidence, also if no route uses it.
        missed = {index for index, sign in self._evidence.items() if network.evidence.get(index, 0) < sign}
        return found + [f"evidence {network.evidence} instead of {self._evidence}"] * bool(missed)

    def _followed(self, snapshot: Snapshot) -> dict[str, object]:
        """What comes from notifications alone; of the rest, the kernel is asked for each snapshot."""
        shown = self._shown(snapshot) | {"evidence": dict(self.rtnetlink.network.evidence)}
        return {what: one for what, one in shown.items() if what not in ("egress", "target")}

    def _shown(self, snapshot: Snapshot) -> dict[str, object]:
        vpn = interfaces.vpn_names(snapshot, self.named)
        return {
            "links": sorted(snapshot.links, key=lambda link: link.index),
            "tables": snapshot.tables,
            "addresses": (
                snapshot.addresses,
                {index: set(own) for index, own in snapshot.all_addresses.items()},
            ),
            "egress": snapshot.egress,
            "dynamic": snapshot.dynamic,
            "assessments": sorted(map(str, interfaces.assess(snapshot, self.named))),
            "vpn": vpn,
            "target": [interfaces.redirect_target(snapshot, vpn, self.named, version) for version in (4, 6)],
            "lan": interfaces.on_link(snapshot),
        }


@pytest.fixture
def clean(lab: None) -> Iterator[None]:
    yield
    clean_up()


def clean_up() -> None:
    run([f"link del {name}" for name in TUNS + OTHERS])
    run([f"{family} route flush table {table}" for family in ("-4", "-6") for table in (77, 78)])
    run([f"{family} rule del lookup {table}" for family in ("-4", "-6") for table in (77, 78)] * 3)
    run(["nexthop flush", "route flush type blackhole", "-6 route flush type blackhole"])


@settings(
    max_examples=int(os.environ.get("STUNWALL_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.lists(commands(), min_size=1, max_size=4), min_size=1, max_size=12),
    st.sampled_from(((), ("nfv*",), ("nft0",))),
)
def test_after_any_changes_the_network_is_as_a_whole_dump_shows_it(
    clean: None, steps: list[list[str]], named: tuple[str, ...]
) -> None:
    tuns = [Tun(name) for name in TUNS]
    run(MADE.strip().split("\n"))
    following = Following(named)
    try:
        for step in steps:
            run(step)
            # The kernel may change something by itself right now, as when it has checked an address.
            assert any(not following.differences() for _ in range(5)), (step, following.differences())
    finally:
        following.close()
        for tun in tuns:
            with suppress(OSError):
                tun.__exit__()
        clean_up()
