"""cli/export.py: the record for other programs, read by them."""

import csv
import json
import os
import pty
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest

from stunwall.model import Event
from unit.cli.command import ENVIRONMENT, HOSTILE, Stunwall, command
from unit.recorded import event, record

SENT = replace(
    event(1, 1e9),
    last_time=1e9 + 2,
    count=3,
    uid=1000,
    user="alice",
    app="firefox",
    unit="app-firefox-1.scope",
    pid=7,
    executable="/usr/bin/firefox",
    command="firefox",
    cause="source-bound",
    cause_text="its socket is bound to 192.0.2.17",
)
PAUSE = Event.note(1e9 + 5, "paused", "for 60 s, by user 0")


def exported(folder: Path, *arguments: str) -> bytes:
    done = subprocess.run(
        command(folder, "export", *arguments), env=ENVIRONMENT, capture_output=True, check=True
    )
    return done.stdout


def test_json_has_every_field_and_the_packet(folder: Path) -> None:
    record(folder, SENT, PAUSE)
    first, second = map(json.loads, exported(folder).splitlines())
    assert first.keys() == {field.name for field in fields(Event)} | {"id", "address"}
    assert bytes.fromhex(first["packet"]) == SENT.packet
    assert (second["verdict"], second["packet"]) == ("paused", "")


def test_csv_is_a_table_that_a_spreadsheet_does_not_calculate_with(folder: Path, tmp_path: Path) -> None:
    record(folder, replace(SENT, command='=HYPERLINK("http://x"),"a"\n', app="@x"), PAUSE)
    file = tmp_path / "out.csv"
    assert exported(folder, "--format", "csv", "--output", str(file)) == b""
    with file.open(newline="", encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert first["command"] == '\'=HYPERLINK("http://x"),"a"\n'
    assert first["app"] == "'@x"
    assert (first["destination"], first["count"]) == ("203.0.113.7", "3")
    assert second["verdict"] == "paused"


def test_ecs_names_the_fields_as_siems_do(folder: Path) -> None:
    record(folder, SENT, PAUSE)
    first, second = map(json.loads, exported(folder, "--format", "ecs").splitlines())
    assert (
        first.items()
        >= {
            "@timestamp": "2001-09-09T01:46:40.000+00:00",
            "event.action": "blocked",
            "event.category": ["network"],
            "event.type": ["connection", "denied"],
            "event.outcome": "failure",
            "source.ip": "192.0.2.17",
            "destination.port": 3478,
            "network.transport": "udp",
            "network.type": "ipv4",
            "user.name": "alice",
            "process.executable": "/usr/bin/firefox",
            "rule.name": "source-bound",
        }.items()
    )
    assert second["event.category"] == ["configuration"]
    assert "destination.ip" not in second


def test_wiresharks_own_program_reads_the_capture_with_its_comments(folder: Path, tmp_path: Path) -> None:
    record(folder, SENT, PAUSE, replace(event(2, 1e9 + 9), interface="wlan0", app=HOSTILE.replace("\0", "")))
    file = tmp_path / "out.pcapng"
    file.write_bytes(exported(folder, "--format", "pcapng"))
    shown = (
        "frame.time_epoch",
        "frame.interface_name",
        "frame.comment",
        "stun.type",
        "ip.dst",
        "udp.dstport",
    )
    done = subprocess.run(
        ["tshark", "-r", str(file), "-Tfields", *(word for name in shown for word in ("-e", name))],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = (line.split("\t") for line in done.stdout.splitlines())
    assert first == [
        "1000000000.000000000",
        "eth0",
        "stunwall entry 1: blocked, 3 packets, of firefox: it would have bypassed the VPN. its socket is bound to "
        "192.0.2.17",
        "0x0001",
        "203.0.113.7",
        "3478",
    ]
    assert second[1] == "wlan0"
    assert "\x1b" not in second[2]


def test_a_capture_is_not_written_to_a_terminal(folder: Path) -> None:
    record(folder, SENT)
    reader, writer = pty.openpty()
    done = subprocess.run(
        command(folder, "export", "--format", "pcapng"),
        env=ENVIRONMENT,
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    os.close(reader)
    assert done.returncode == 1
    assert b"pcapng is not for a terminal" in done.stderr


def test_a_file_that_cannot_be_written_is_told(folder: Path, stunwall: Stunwall) -> None:
    record(folder, SENT)
    result = stunwall("export", "--output", str(folder / "none" / "file"))
    assert (result.code, result.out) == (1, "")
    assert "cannot write" in result.err


@pytest.mark.parametrize(("form", "lines"), [("json", 0), ("csv", 1), ("ecs", 0)])
def test_an_empty_record_gives_an_empty_file(folder: Path, form: str, lines: int) -> None:
    record(folder)
    assert exported(folder, "--format", form).count(b"\n") == lines


def test_an_empty_record_gives_a_capture_without_packets(folder: Path, tmp_path: Path) -> None:
    record(folder)
    file = tmp_path / "out.pcapng"
    file.write_bytes(exported(folder, "--format", "pcapng"))
    assert subprocess.run(["tshark", "-r", str(file)], capture_output=True, check=True).stdout == b""
