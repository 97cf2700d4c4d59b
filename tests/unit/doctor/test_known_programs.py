"""doctor/known_programs.py: which program is recognised by what."""

from typing import Any

import pytest

from stunwall.doctor.known_programs import by_mark, present
from vectors.rulesets import RULESETS


@pytest.mark.parametrize(("mark", "program"), [(0xCA6C, "wg-quick"), (0x6D6F6C65, "Mullvad"), (1, "")])
def test_programs_are_recognised_by_their_marks(mark: int, program: str) -> None:
    assert by_mark(mark) == program


@pytest.mark.parametrize(
    ("text", "interfaces", "name"),
    [
        ("table ip nat {\nchain DOCKER {\n}\n}", [], "Docker"),
        ("", ["lo", "docker0"], "Docker"),
        ("table inet firewalld {\n}", [], "firewalld"),
        ("table ip filter {\nchain ufw-before-input {\n}\n}", [], "ufw"),
        ("table inet opensnitch {\n}", [], "OpenSnitch"),
        ("table inet mullvad {\n}", [], "Mullvad"),
        ("table ip filter {\nchain ts-input {\n}\n}", ["tailscale0"], "Tailscale"),
        ("", ["virbr0"], "libvirt"),
    ],
)
def test_a_program_is_found_once(ruleset: Any, text: str, interfaces: list[str], name: str) -> None:
    (found,) = present(ruleset(text), interfaces)
    assert found.name == name
    assert found.advice.why
    assert found.advice.next


@pytest.mark.parametrize(
    ("name", "known"),
    [("docker", "Docker"), ("ufw", "ufw"), ("firewalld", "firewalld"), ("opensnitch", "OpenSnitch")],
)
def test_programs_are_recognised_in_their_real_rulesets(name: str, known: str) -> None:
    assert known in [each.name for each in present(RULESETS[name], [])]


def test_nothing_is_found_where_no_program_is_known(ruleset: Any) -> None:
    assert present(ruleset("table inet stunwall {\n}\ntable inet mine {\n}"), ["lo", "eth0", "wlan0"]) == []
