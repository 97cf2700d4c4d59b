"""doctor/vpn.py: what counts as the VPN."""

from pathlib import Path

import pytest

from stunwall.config import Config, Mode
from unit.fake_machine import OK, WARNING, FakeMachine, status


def test_every_vpn_interface_is_listed_and_none_is_a_warning(fake: FakeMachine) -> None:
    eth0 = {"interface": "eth0", "counts": False, "why": "an Ethernet card"}
    assert fake.one("vpn", OK).what == "wg0: a wireguard interface"
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
