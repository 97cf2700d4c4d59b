"""doctor/vpn.py: what counts as the VPN."""

from pathlib import Path

import pytest

from stunwall.config import Config, Mode
from unit.fake_machine import OK, WARNING, FakeMachine, status


def test_every_vpn_interface_is_listed_and_none_is_a_warning(fake: FakeMachine) -> None:
    eth0 = {"interface": "eth0", "counts": False, "why": "an Ethernet card"}
    assert [each.what for each in fake.find("vpn")[OK]] == [
        "wg0: a wireguard interface",
        "STUN passes to machines behind this one, by veth0, veth1",
    ]
    fake.daemon = status(interfaces=[eth0])
    assert fake.one("vpn", WARNING).what == "no interface counts as the VPN"


def test_a_network_card_that_counts_as_the_vpn_is_a_warning(fake: FakeMachine, tmp_path: Path) -> None:
    (tmp_path / "net" / "eth0" / "device").mkdir(parents=True)
    fake.daemon = status(interfaces=[{"interface": "eth0", "counts": True, "why": "named in interfaces"}])
    assert fake.one("vpn", WARNING).what.startswith("eth0 counts as the VPN, but is a network card")


@pytest.mark.parametrize(
    ("mode", "families", "warns"),
    [(Mode.REDIRECT, [], True), (Mode.REDIRECT, [4], False), (Mode.BLOCK, [], False)],
)
def test_in_mode_redirect_a_vpn_that_cannot_carry_redirected_flows_is_a_warning(
    fake: FakeMachine, mode: Mode, families: list[int], warns: bool
) -> None:
    fake.daemon = status(redirects=families)
    machine = fake.machine
    machine.settings = Config(mode=mode)
    assert (WARNING in fake.find("vpn", machine)) == warns


def test_interfaces_that_are_inside_are_listed_and_a_doubtful_one_is_a_warning(fake: FakeMachine) -> None:
    lan = {
        "interface": "lan0",
        "counts": False,
        "why": 'named by inside = ["lan0"]',
        "inside": True,
        "doubt": True,
    }
    boxes = [lan | {"interface": name, "doubt": False} for name in ("docker0", "veth1")]
    wg0 = {
        "interface": "wg0",
        "counts": True,
        "why": "a wireguard interface",
        "inside": False,
        "doubt": False,
    }
    vrf = lan | {
        "interface": "red",
        "kind": "vrf",
        "doubt": False,
    }  # a routing domain, not machines behind this one
    fake.daemon = status(interfaces=[wg0, lan, *boxes, vrf])
    found = fake.find("vpn")
    assert [each.what for each in found[WARNING]] == ['lan0 is named by inside = ["lan0"]']
    assert found[OK][-1].what == "STUN passes to machines behind this one, by docker0, veth1"
