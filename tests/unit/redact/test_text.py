"""redact/text.py: what a text says of people and machines is replaced, and nothing else."""

import re

import pytest

from stunwall.redact.addresses import KEY
from stunwall.redact.text import Texts

TEXTS = Texts(bytes(KEY), {"alice": 1000, "root": 0, "bo": 1001}, "Desk")
ALICE = TEXTS.uid(1000)


@pytest.mark.parametrize(
    ("text", "secret", "shape"),
    [
        ("100: from 192.168.1.5 lookup main", "192.168.1.5", r"100: from 192\.168\.\d+\.\d+ lookup main"),
        ("to 81.2.69.0/24 via", "81.2.69", r"to \d+\.\d+\.\d+\.0/24 via"),
        ("[2a02:8108::17]:3478", "2a02", r"\[[23][0-9a-f:]+\]:3478"),
        ("at 2a02:8108::17: why", "2a02", r"at [23][0-9a-f:]+: why"),
        ("it was 81.2.69.142.", "81.2", r"it was \d+\.\d+\.\d+\.\d+\."),
        ("x81.2.69.142y", "81.2", r"x\d+\.\d+\.\d+\.\d+y"),
        ("p81-2-69-142.isp.example", "81-2", r"p\d+-\d+-\d+-\d+\.isp\.example"),
        ("dev enxa0b1c2d3e4f5", "a0b1", r"dev enx02[0-9a-f]{10}"),
        ("lladdr a0:b1:c2:d3:e4:f5", "a0:b1", r"lladdr 02(:[0-9a-f]{2}){5}"),
        ("for 60 s, by user 1000", "1000", rf"for 60 s, by user {ALICE}"),
        ("by user 4711 (zoe.x), whom", "zoe", r"by user \d{6} \(user-\d{6}\), whom"),
        ("uidrange 1000-1000 lookup 5", "1000", rf"uidrange {ALICE}-{ALICE} lookup 5"),
        ("/run/user/1000/x", "1000", rf"/run/user/{ALICE}/x"),
        ("user@1000.service", "1000", rf"user@{ALICE}\.service"),
        ("user-1000.slice", "1000", rf"user-{ALICE}\.slice"),
        ("openvpn@office.example.service", "office", r"openvpn@instance-[0-9a-f]{6}\.service"),
        (r"machine-qemu\x2d1\x2dbank.scope", "bank", r"machine-machine-[0-9a-f]{6}\.scope"),
        (f"docker-{'5f' * 32}.scope", "5f5f", r"docker-id-[0-9a-f]{6}\.scope"),
        ("Alice's program", "Alice", rf"user-{ALICE}'s program"),
        ("app-alice_x.scope", "alice", rf"app-user-{ALICE}_x\.scope"),
        (r"app-my\x2dalice.scope", "alice", rf"app-my\\x2duser-{ALICE}\.scope"),
        ("/home/carol/x", "carol", r"/home/user-[0-9a-f]{6}/x"),
        ("desk: bo", "desk", rf"host: user-{TEXTS.uid(1001)}"),
    ],
)
def test_what_is_private_is_replaced(text: str, secret: str, shape: str) -> None:
    assert secret in text
    assert re.fullmatch(shape, TEXTS.text(text)), TEXTS.text(text)
    assert secret not in TEXTS.text(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "2026-11-26 10:03:11 +0100",
            "0.0.0.0/0",
            "::/0",
            "127.0.0.1",
            "root",
            "by user 0",
            "by user 0 (root), who",
            "user@0.service",
        ),
        *("app-firefox-1.scope", "org.mozilla.firefox", "table main, metric 600", "fwmark 0xca6c", "1.2.3"),
        *(
            "Desktop",
            "malice",
            "robot",
            "999.1.2.3",
            "stunwalld was stopped, and the wall removed",
            "a@b.example",
        ),
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert TEXTS.text(text) == text


def test_a_network_contains_the_pseudonyms_of_its_addresses() -> None:
    network, address = TEXTS.text("81.2.69.0/24"), TEXTS.text("81.2.69.142")
    assert network.rpartition(".")[0] == address.rpartition(".")[0]


def test_of_a_program_in_a_home_folder_its_name_remains() -> None:
    assert TEXTS.file("/home/carol/Divorce/app 1.2") == "/home/.../app 1.2"
    assert TEXTS.file("/usr/lib/firefox/firefox") == "/usr/lib/firefox/firefox"
    assert TEXTS.file("/srv/alice/bin/x") == f"/srv/user-{ALICE}/bin/x"


def test_of_a_command_line_the_program_remains() -> None:
    assert TEXTS.command("/usr/bin/call --room secret 81.2.69.142") == "/usr/bin/call ..."
    assert TEXTS.command("/home/carol/call") == "/home/.../call"
    assert TEXTS.command("firefox") == "firefox"


def test_names_and_numbers_of_a_user_go_together_and_root_is_everybodys() -> None:
    assert TEXTS.user("alice", 1000) == TEXTS.text("alice") == f"user-{ALICE}"
    assert (TEXTS.user("root", 0), TEXTS.uid(0), TEXTS.uid(-1)) == ("root", 0, -1)
    assert ALICE != 1000
    assert "carol" not in TEXTS.user("carol", -1)


def test_another_key_gives_other_names() -> None:
    other = Texts(b"1" * KEY, {"alice": 1000}, "")
    assert other.text("alice") != TEXTS.text("alice")
    assert other.name("container", "c") != TEXTS.name("container", "c")
