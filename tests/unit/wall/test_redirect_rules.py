"""rules/redirect.nft and rules/output.nft: loaded only when needed, and what is remembered of redirected flows."""

from dataclasses import replace
from pathlib import Path

import pytest

from stunwall.config import Allow
from stunwall.wall import table
from stunwall.wall.contents import Addition
from stunwall.wall.nft import Nft
from unit.wall_kernel import EMPTY, MASK, SERVER4, Way, loaded, run_nft

pytestmark = pytest.mark.usefixtures("clear")

CONNECTIONS = Path("/proc/sys/net/netfilter/nf_conntrack_count")
REDIRECT = replace(EMPTY, redirect=True)
FLOW = f"{{ 3999 . {SERVER4} . 3478 }}"


def connections() -> int:
    """How many connections this network namespace tracks."""
    return int(CONNECTIONS.read_text())


@pytest.mark.parametrize("allow", [(), (Allow("w", unit="a.service"),)], ids=["plain", "exception by unit"])
def test_in_mode_block_no_connection_is_tracked(nft: Nft, way: Way, allow: tuple[Allow, ...]) -> None:
    before = connections()  # of other tests
    table.load(nft, replace(EMPTY, allow=allow), MASK)
    assert not way.passes()
    assert way.passes(payload=b"no STUN")
    assert connections() <= before
    table.load(nft, replace(REDIRECT, allow=allow), MASK)
    assert way.passes(payload=b"no STUN")
    assert connections()


def test_the_files_are_those_that_are_needed() -> None:
    by_unit = (Allow("w", unit="a.service"),)
    assert EMPTY.additions == set()
    assert replace(EMPTY, allow=(Allow("w", port=1),)).additions == set()
    assert replace(EMPTY, allow=by_unit).additions == {Addition.OUTPUT}
    assert replace(EMPTY, vpn_down_allowed=True).additions == {Addition.VPN_DOWN}
    assert replace(EMPTY, bound_tcp=True).additions == {Addition.BOUND_TCP}
    everything = replace(REDIRECT, allow=by_unit, vpn_down_allowed=True, bound_tcp=True)
    assert everything.additions == set(Addition)


def test_while_a_redirected_flow_is_remembered_its_rules_stay(nft: Nft) -> None:
    """As when the daemon starts again in mode block."""
    table.load(nft, REDIRECT, MASK)
    run_nft("add", "element", "inet", "stunwall", "redirected4", FLOW)
    assert table.load(nft, EMPTY, MASK).redirect
    assert loaded().sets["redirected4"]
    run_nft("flush", "set", "inet", "stunwall", "redirected4")
    assert not table.load(nft, EMPTY, MASK).redirect
    assert "redirected4" not in loaded().sets


def test_the_file_loaded_again_keeps_what_holds_redirected_flows_back(nft: Nft, way: Way) -> None:
    """As when the unit of the wall is restarted in an upgrade."""
    table.load(nft, REDIRECT, MASK)
    run_nft("add", "element", "inet", "stunwall", "redirected4", FLOW)
    for _ in range(2):
        assert not way.passes(payload=b"media")
        assert way.passes(port=3479, payload=b"media")
        run_nft("-f", "rules/stunwall.nft")


def test_a_flow_that_cannot_be_remembered_does_not_leave_by_the_vpn(nft: Nft, way: Way) -> None:
    """It would leave outside the VPN later on."""
    run_nft(
        "-f",
        "-",
        text="table inet other {\nchain c {\ntype filter hook output priority 0;\nmeta mark set 0x10000000\n}\n}\n",
    )
    table.load(nft, replace(REDIRECT, vpn=frozenset({"stw0"})), MASK)
    assert way.passes(payload=b"media")
    flows = [str(flow) for flow in loaded().sets["redirected4"]]
    assert f"3999 . {SERVER4} . 3478" in flows
    full = ", ".join(f"{port} . 192.0.2.1 . 9" for port in range(len(flows), 65535))
    run_nft("-f", "-", text=f"add element inet stunwall redirected4 {{ {full} }}\n")
    assert len(loaded().sets["redirected4"]) == 65535
    assert way.passes(payload=b"media")
    assert not way.passes(port=4000, payload=b"media")
