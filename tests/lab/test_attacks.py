"""No published attack makes STUN leave outside the VPN; `./tests/run.sh attacks` prints the scoreboard."""

import pytest

from lab.attacks import ATTACKS, LOCAL_NETWORK, LOCAL_PREFIX, POISON_TAP, Attack
from lab.scoreboard import BEGIN, END, MODES, README, faults, play, sources
from lab.topology import Lab

CASES = [
    pytest.param(attack, mode, id=f"{attack.name.replace(' ', '_')}-{mode}")
    for attack in ATTACKS
    for mode in MODES
]


@pytest.mark.parametrize(("attack", "mode"), CASES)
def test_attack_leaks_without_stunwall_and_not_with_it(lab: Lab, attack: Attack, mode: str) -> None:
    assert list(faults(attack, mode, play(lab, attack, mode))) == []


@pytest.mark.parametrize("attack", [LOCAL_NETWORK, LOCAL_PREFIX, POISON_TAP], ids=lambda each: each.name)
def test_allow_lan_lets_nothing_out_to_a_public_address_that_the_network_calls_local(
    lab: Lab, attack: Attack
) -> None:
    assert list(faults(attack, "block", play(lab, attack, "block", allow_lan=True))) == []


def test_the_printed_scoreboard_is_of_these_attacks_and_modes() -> None:
    printed, published = README.read_text().split(BEGIN)[1].split(END)[0].strip().split("\n\n")
    assert published == sources()
    header, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()
    ]
    assert header[2:] == list(MODES)
    assert [line[:2] for line in lines] == [[attack.name, attack.attacker] for attack in ATTACKS]
    for _, _, without, *others in lines:
        assert int(without.strip("*")) > 0
        assert all(cell.startswith("0, ") for cell in others)
