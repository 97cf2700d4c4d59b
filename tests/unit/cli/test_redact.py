"""cli/redacted.py and --redact: no command prints what is private, and within one output everything agrees."""

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stunwall.cli.decode import decode
from stunwall.doctor import checks
from stunwall.doctor.findings import problem
from stunwall.model import Event
from stunwall.record.ledger import Kind
from stunwall.wall import inspection
from stunwall.wall.nft import Nft
from unit.build import packet
from unit.cli.command import ENVIRONMENT, Stunwall, command
from unit.cli.test_exposure import ledger
from unit.fake_machine import inspected, wall
from unit.recorded import event, record
from vectors.programs import attribute, message

SOURCE, SERVER, PEER = "81.2.69.142", "198.51.100.77", "2a02:8108::17"
SECRETS = (
    *(SOURCE, SERVER, PEER, "alice", "4711", "Divorce", "secret-room", "bank-vm", "office", "a0b1c2d3e4f5"),
    *("daisys-phone", "52:54:00:77:1a:2b", "52-54-00-77-1A-2B"),
    *("deskhost", bytes(map(int, SOURCE.split("."))).hex(), b"secret-room".hex()),
)
SENT = replace(
    event(1),
    source=SOURCE,
    destination=SERVER,
    interface="enxa0b1c2d3e4f5",
    uid=4711,
    user="alice",
    unit="openvpn@office.service",
    container="bank-vm",
    pid=7,
    executable="/home/alice/Divorce/call",
    command="/home/alice/Divorce/call --room secret-room",
    who="alice's agent on deskhost says so",
    cause="source-bound",
    cause_text=f"its socket is bound to {SOURCE}: 100: from {SOURCE} uidrange 4711-4711 lookup main",
    mac="52:54:00:77:1a:2b",
    client="daisys-phone",
    packet=packet("udp", message(0x0001, attribute(6, b"secret-room"))),
)
OTHER = replace(
    SENT, source_port=2, incoming="lan0", container="", source=PEER, destination=PEER, family=6, packet=b""
)
PAUSE = Event.note(SENT.time, "paused", "for 60 s, by user 4711")


pytestmark = pytest.mark.usefixtures("machine")
COMMANDS = [
    ["log"],
    ["log", "--json"],
    ["show", "1"],
    ["show", "1", "--json"],
    ["stats"],
    ["stats", "--by", "destination"],
    ["stats", "--by", "client"],
    ["stats", "--by", "reason", "--json"],
    ["export"],
    ["export", "--format", "csv"],
    ["export", "--format", "ecs"],
    ["exposure"],
    ["exposure", "--json"],
    ["status"],
    ["status", "--json"],
    ["status", "--waybar"],
    ["vpn"],
    ["vpn", "--json"],
    ["doctor"],
    ["doctor", "--json"],
    ["allow", "list"],
    ["allow", "list", "--json"],
    ["config", "check"],
    ["config", "check", "--json"],
    ["rules"],
    ["rules", "--json"],
    ["rules", "--nft"],
    ["explain", "--to", f"{SERVER}:3478"],
    ["explain", "--to", f"{SERVER}:3478", "--json"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_prints_what_is_private(
    folder: Path,
    stunwall: Stunwall,
    daemon: dict[str, Any],
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon |= {
        "exposures": [{"time": 1.0, "server": SERVER, "address": SOURCE}],
        "problems": [f"{SOURCE} of alice on deskhost"],
        "allow": [{"user": "alice", "from": SOURCE, "uid": 4711, "why": "a test"}],
    }
    daemon["interfaces"] = [{**daemon["interfaces"][0], "why": f"{SOURCE} of alice"}]
    found = [problem("x", f"{SOURCE} of alice", "on deskhost", f"name {SERVER}")]
    monkeypatch.setattr(checks, "examine", lambda file: found)
    loaded = replace(wall(), sets={"lan4": (f"{SOURCE}/32",)})
    monkeypatch.setattr(inspection, "inspect", lambda settings: inspected(loaded, f"rule to {SERVER}"))
    monkeypatch.setattr(
        Nft, "list_table", lambda self, table, handles=False: f"ip saddr {SOURCE} meta skuid 4711 accept\n"
    )
    own = f'[[allow]]\nto = "{SERVER}"\nuser = 4711\nwhy = "for alice"\n'
    (folder / "c.toml").write_text((folder / "c.toml").read_text() + own)
    record(folder, SENT, OTHER, PAUSE)
    ledger(folder, (Kind.SEALED, "", 30), (Kind.PAUSED, "by user 4711", 30))
    plain, hidden = stunwall(*arguments), stunwall(*arguments, "--redact")
    assert (hidden.code, hidden.err) == (plain.code, "")
    assert hidden.out.count("\n") >= 1
    assert any(secret in plain.out for secret in SECRETS) or arguments[:3] == ["stats", "--by", "reason"]
    assert [secret for secret in SECRETS if secret in hidden.out] == []


def test_what_is_followed_is_redacted(
    folder: Path, stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c(seconds: float) -> None:
        raise KeyboardInterrupt

    record(folder, SENT)
    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", ctrl_c)
        out = stunwall("log", "--follow", "--json", "--redact").out
    assert json.loads(out)["destination_port"] == SENT.destination_port
    assert [secret for secret in SECRETS if secret in out] == []


def test_a_capture_has_pseudonyms_in_its_packets_and_comments(folder: Path, stunwall: Stunwall) -> None:
    record(folder, SENT)
    file = folder / "out.pcapng"
    assert stunwall("export", "--format", "pcapng", "--redact", "--output", str(file)).code == 0
    raw = file.read_bytes()
    assert b"stunwall entry 1" in raw
    for secret in (*SECRETS[:-2], "192.0.2.17"):
        assert secret.encode() not in raw
    for secret in SECRETS[-2:]:
        assert bytes.fromhex(secret) not in raw


def test_in_one_output_the_same_address_is_the_same(folder: Path, stunwall: Stunwall) -> None:
    raw = packet("udp", message(0x0001))
    record(folder, replace(SENT, source="192.0.2.17", destination="203.0.113.7", packet=raw))
    shown = json.loads(stunwall("show", "1", "--json", "--redact").out)
    ends = decode(bytes.fromhex(shown["packet"]))[0].value
    assert ends == f"{shown['source']}:50017 to {shown['destination']}:3478"
    (total,) = json.loads(stunwall("stats", "--by", "destination", "--json", "--redact").out)
    assert total["value"] == shown["destination"]
    (total,) = json.loads(stunwall("stats", "--json", "--redact").out)
    assert total["value"] == shown["container"]


def test_filters_are_for_what_the_record_has(folder: Path, stunwall: Stunwall) -> None:
    record(folder, SENT, replace(SENT, source_port=2, destination="198.51.100.9", user="bob", uid=1001))
    for option in (["--to", SERVER], ["--user", "alice"]):
        lines = stunwall("log", "--json", "--redact", *option).out.splitlines()
        assert [json.loads(line)["id"] for line in lines] == [1]


def test_known_services_keep_their_names(folder: Path, stunwall: Stunwall) -> None:
    record(folder, replace(SENT, destination="74.125.250.129"))
    (total,) = json.loads(stunwall("stats", "--by", "destination", "--json", "--redact").out)
    assert total["service"] == "Google"
    assert total["value"] != "74.125.250.129"


def test_two_calls_cannot_be_compared(folder: Path) -> None:
    record(folder, SENT)
    said = {
        subprocess.run(
            command(folder, "log", "--json", "--redact"), env=ENVIRONMENT, capture_output=True
        ).stdout
        for _ in range(2)
    }
    assert len(said) == 2
