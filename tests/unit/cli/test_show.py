"""cli/show.py: what `stunwall show` prints of an entry."""

import json
import re
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest

from stunwall.model import Event
from unit.build import packet
from unit.cli.command import ENVIRONMENT, HOSTILE, Stunwall, command
from unit.recorded import event, record
from vectors import rfc5769
from vectors.programs import SAMPLES, attribute, message


def test_show_prints_the_full_entry_and_decodes_its_packet(folder: Path) -> None:
    raw = packet("udp", message(0x0003, attribute(0x0019, bytes([17, 0, 0, 0]))))
    record(folder, replace(event(), protocol="turn", method="Allocate", packet=raw))
    done = subprocess.run(command(folder, "show", "1"), capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    shown = dict(re.findall(r"^(\w+) {2,}(.*)$", done.stdout, re.M))
    assert shown["Entry"] == "1"
    assert shown["Verdict"] == "blocked: it would have bypassed the VPN"
    assert shown["What"] == "turn Allocate over udp, IPv4"
    assert (shown["From"], shown["To"]) == ("192.0.2.17:1", "203.0.113.7:3478")
    assert "IPv4, UDP  192.0.2.17:50017 to 203.0.113.7:3478" in done.stdout
    assert "00030008 2112a442  STUN  Allocate request, 8 bytes of attributes" in done.stdout
    assert done.stdout.endswith("00190004 11000000  REQUESTED-TRANSPORT  UDP\n")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_hexadecimal_shows_the_whole_packet(folder: Path, stunwall: Stunwall) -> None:
    record(folder, replace(event(), packet=packet("udp", rfc5769.REQUEST)))
    lines = stunwall("show", "1").out.partition("The first packet:\n\n")[2].splitlines()
    assert bytes.fromhex("".join(line[:17] for line in lines)) == packet("udp", rfc5769.REQUEST)


def test_text_in_a_packet_cannot_reach_the_terminal_raw(folder: Path, stunwall: Stunwall) -> None:
    hostile = attribute(0x0006, HOSTILE.encode())
    record(folder, replace(event(), packet=packet("udp", message(0x0001, hostile))))
    out = stunwall("show", "1").out
    assert all(character.isprintable() for line in out.split("\n") for character in line)
    assert "]0;owned" in out


def test_the_json_has_the_packet_in_hexadecimal(folder: Path, stunwall: Stunwall) -> None:
    record(folder, event())
    shown = json.loads(stunwall("show", "1", "--json").out)
    names = [field.name for field in fields(Event)]
    names.remove("packet")
    assert list(shown) == ["id", *names, "address", "packet"]
    assert bytes.fromhex(shown["packet"]) == event().packet


SLOPPY = {
    sample.name + f", IPv{version}": packet(sample.transport, sample.payload, version)
    for sample in SAMPLES
    for version in (4, 6)
    if len(sample.payload) > 8
} | {
    "a mapped address of 1 byte": packet("udp", message(0x0101, attribute(0x0020, b"\0"))),
    "a mapped address of half an IPv6": packet("udp", message(0x0101, attribute(0x0020, b"\0\2" + bytes(6)))),
    "an empty fingerprint": packet("udp", message(0x0001, attribute(0x8028, b""))),
    "an attribute that is longer than the message": packet(
        "udp", message(0x0001, bytes.fromhex("00060010 6162"))
    ),
    "no packet": b"",
}


def test_packets_of_real_programs_are_decoded_as_far_as_possible(folder: Path, stunwall: Stunwall) -> None:
    record(folder, *(replace(event(port), packet=raw) for port, raw in enumerate(SLOPPY.values(), 1)))
    for number, (name, raw) in enumerate(SLOPPY.items(), 1):
        result = stunwall("show", str(number))
        assert (result.code, result.err) == (0, ""), name
        assert (f"  IPv{raw[0] >> 4}, " if raw else "It was not recorded.") in result.out


TRUNCATED = [
    packet("udp", message(0x0001)[:8]),
    packet("udp", message(0x0001)[:12]),
    packet("udp", message(0x0001))[:10],
    packet("udp", message(0x0001), 6)[:30],
    b"\x45",
    b"\x60\xff",
]


@pytest.mark.parametrize("raw", TRUNCATED, ids=lambda raw: f"{len(raw)} bytes")
def test_truncated_packets_are_decoded_as_far_as_possible(
    folder: Path, stunwall: Stunwall, raw: bytes
) -> None:
    record(folder, replace(event(), packet=raw))
    result = stunwall("show", "1")
    assert (result.code, result.err) == (0, "")
    assert "The first packet:" in result.out


@pytest.mark.parametrize("number", ["0", "2", "-1", "9" * 30])
def test_an_unknown_id_is_exit_code_1(folder: Path, stunwall: Stunwall, number: str) -> None:
    record(folder, event())
    result = stunwall("show", "--", number)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"stunwall: there is no entry {number}: `stunwall log` lists the IDs\n"
