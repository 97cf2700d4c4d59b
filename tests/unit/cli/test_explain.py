"""cli/explain.py: why packets bypass a VPN that is set up as by wg-quick, in the kernel; and what the user is told."""

import json
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from stunwall.browsers import machine as browsers
from stunwall.cli import explanation
from stunwall.config import Config
from stunwall.presets.table import presets
from stunwall.vpn.cause import Cause
from stunwall.vpn.walk import Packet
from unit.browsers.fake import Fake
from unit.cli.command import HOSTILE, Stunwall
from unit.recorded import event, record
from unit.tun import Tun, ip
from unit.vpn.made_routing import restore

REAL, REAL6 = "192.0.2.17", "2001:db8:a::17"
SERVER, SERVER6 = "203.0.113.7", "2001:db8:3::3"
# sing-tun's rule (SagerNet), which lets sockets bound to the physical address around the VPN.
BY_SOURCE = f"rule add from {REAL} lookup main pref 100"
MADE = ("nsxout", "nsxin")


@pytest.fixture
def machine(lab: None) -> Iterator[None]:
    """A way out with both IP versions, a container, and a VPN for IPv4."""
    for line in (
        "link add nsxout type veth peer name nsxpeer",
        "link set nsxout up",
        "link set nsxpeer up",
        f"addr add {REAL}/24 dev nsxout",
        "route add default via 192.0.2.1 dev nsxout",
        f"addr add {REAL6}/64 dev nsxout nodad",
        "-6 route add default via 2001:db8:a::1 dev nsxout",
        "link add nsxin type veth peer name nsxbox",
        "link set nsxin up",
        "link set nsxbox up",
        "addr add 172.17.0.1/24 dev nsxin",
    ):
        ip(*line.split())
    with Tun("nsxvpn", "10.8.0.2/24"):
        ip(*["route", "add", "default", "dev", "nsxvpn", "table", "51820"])
        ip(*["rule", "add", "not", "fwmark", "51820", "table", "51820", "pref", "32765"])
        ip(*["rule", "add", "table", "main", "suppress_prefixlength", "0", "pref", "32764"])
        yield
    for name in MADE:
        ip("link", "del", name)
    restore()


def asked(stunwall: Stunwall, *arguments: str) -> dict[str, Any]:
    result = stunwall("explain", *arguments, "--json")
    assert (result.code, result.err) == (0, "")
    said: dict[str, Any] = json.loads(result.out)
    return said


# What is set up besides, what is asked, the cause, and the interface.
CASES = {
    "not bound": ("", f"--to {SERVER}:3478", Cause.VPN, "nsxvpn"),
    "to this machine": ("", f"--to {REAL}:3478", Cause.LOCAL, "nsxout"),
    "to a container": ("", "--to 172.17.0.9:3478", Cause.INSIDE, "nsxin"),
    "bound to the address, which does not matter": (
        "",
        f"--to {SERVER}:3478 --from {REAL}",
        Cause.VPN,
        "nsxvpn",
    ),
    "bound to the address": (BY_SOURCE, f"--to {SERVER}:3478 --from {REAL}", Cause.SOURCE_BOUND, "nsxout"),
    "bound to the address, and two rules": (
        f"{BY_SOURCE};rule add from 192.0.2.0/24 lookup main pref 101",
        f"--to {SERVER}:3478 --from {REAL}",
        Cause.SOURCE_BOUND,
        "nsxout",
    ),
    "IPv6, and a rule that does not matter": (
        f"-6 rule add from {REAL6} lookup main pref 100",
        f"--to [{SERVER6}]:3478 --from {REAL6}",
        Cause.NO_FAMILY,
        "nsxout",
    ),
    "bound to the device": ("", f"--to {SERVER}:3478 --device nsxout", Cause.DEVICE_BOUND, "nsxout"),
    "bound to both": (
        BY_SOURCE,
        f"--to {SERVER}:3478 --device nsxout --from {REAL}",
        Cause.DEVICE_BOUND,
        "nsxout",
    ),
    "IPv6, which the VPN does not carry": ("", f"--to [{SERVER6}]:3478", Cause.NO_FAMILY, "nsxout"),
    "IPv6, bound": (
        "",
        f"--to [{SERVER6}]:3478 --from {REAL6} --device nsxout",
        Cause.NO_FAMILY,
        "nsxout",
    ),
    "marked as WireGuard's own": ("", f"--to {SERVER}:3478 --mark 51820", Cause.MARK, "nsxout"),
    "marked, by a rule": (
        "rule add fwmark 0x20/0x20 lookup main pref 90",
        f"--to {SERVER}:3478 --mark 0x21",
        Cause.MARK,
        "nsxout",
    ),
    "a user's": (
        "rule add uidrange 1000-1000 lookup main pref 90",
        f"--to {SERVER}:3478 --uid 1000",
        Cause.RULE,
        "nsxout",
    ),
    "TCP alone": (
        "rule add ipproto tcp lookup main pref 90",
        f"--to {SERVER}:3478 --protocol tcp",
        Cause.RULE,
        "nsxout",
    ),
    "a destination": (f"rule add to {SERVER} lookup main pref 90", f"--to {SERVER}:80", Cause.RULE, "nsxout"),
    "a route": (f"route add {SERVER} via 192.0.2.1", f"--to {SERVER}:80", Cause.ROUTE, "nsxout"),
    "the LAN": ("", "--to 192.0.2.9:80", Cause.ROUTE, "nsxout"),
    "forwarded past it": (
        "rule add iif nsxin lookup main pref 90",
        f"--to {SERVER}:80 --from 172.17.0.9",
        Cause.FORWARDED,
        "nsxout",
    ),
    "forwarded past it, by its source": (
        "rule add from 172.17.0.0/16 lookup main pref 90",
        f"--to {SERVER}:80 --from 172.17.0.9",
        Cause.FORWARDED,
        "nsxout",
    ),
    "forwarded into it": ("", f"--to {SERVER}:80 --from 172.17.0.9", Cause.VPN, "nsxvpn"),
    "forbidden": (f"route add prohibit {SERVER}", f"--to {SERVER}:80", Cause.NO_ROUTE, ""),
    "the VPN has lost its default route to another": (
        "rule add pref 80 lookup main",
        f"--to {SERVER}:80",
        Cause.NOT_DEFAULT,
        "nsxout",
    ),
}


BLAMELESS = {Cause.DEVICE_BOUND, Cause.NOT_DEFAULT, Cause.NO_FAMILY}


@pytest.mark.parametrize("case", CASES)
def test_the_cause_is_named_and_the_commands_undo_it(machine: None, stunwall: Stunwall, case: str) -> None:
    setup, question, cause, interface = CASES[case]
    for line in filter(None, setup.split(";")):
        ip(*line.split())
    said = asked(stunwall, *question.split())
    assert (said["cause"], said["why"]) == (cause, cause.sentence)
    assert said["interfaces"] == [interface] * bool(interface)
    assert (said["next"] == "") == (cause in {Cause.VPN, Cause.LOCAL, Cause.INSIDE, Cause.NO_ROUTE})
    # Without the rules that it names, the same packet goes into the VPN.
    for command in said["remove"]:
        assert command in said["next"]
        subprocess.run(shlex.split(command)[1:], check=True)
    if said["remove"]:
        assert asked(stunwall, *question.split())["cause"] == Cause.VPN
    blamed = setup.count("rule add") if cause not in BLAMELESS else 0
    assert len(said["remove"]) == blamed


def test_a_rule_that_leads_forwarded_packets_into_the_vpn_is_told(machine: None, stunwall: Stunwall) -> None:
    ip(*["rule", "del", "pref", "32765"])
    ip(*["rule", "add", "iif", "lo", "lookup", "51820", "pref", "32765"])
    question = ("--to", f"{SERVER}:80", "--from", "172.17.0.9")
    said = asked(stunwall, *question)
    assert (said["cause"], said["remove"]) == (Cause.FORWARDED, [])
    told = re.search(r"`sudo (.*?)`", said["next"])
    assert told is not None
    subprocess.run(shlex.split(told[1]), check=True)
    assert asked(stunwall, *question)["cause"] == Cause.VPN


def test_a_route_for_one_source_alone_is_told(machine: None, stunwall: Stunwall) -> None:
    """IPv6 has such routes, where no rule is to blame."""
    for line in (
        "addr add fd08::2/64 dev nsxvpn nodad",
        "route del default",
        "route add default dev nsxvpn",
        f"route add 2001:db8:3::/48 from {REAL6} via 2001:db8:a::1 dev nsxout",
    ):
        ip("-6", *line.split())
    question = ("--to", f"[{SERVER6}]:80", "--from", REAL6)
    said = asked(stunwall, *question)
    assert (said["cause"], said["remove"]) == (Cause.SOURCE_BOUND, [])
    told = re.search(r"`sudo (.*?)`", said["next"])
    assert told is not None
    subprocess.run(shlex.split(told[1]), check=True)
    assert asked(stunwall, *question)["cause"] == Cause.VPN


def test_people_read_what_happens_why_and_what_to_do(machine: None, stunwall: Stunwall) -> None:
    ip(*BY_SOURCE.split())
    result = stunwall("explain", "--to", f"{SERVER}:3478", "--from", REAL)
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        f"Packet     udp to {SERVER}:3478, from a socket bound to {REAL}\n"
        "Way        by nsxout, outside the VPN; stunwall blocks STUN there, unless an\n"
        "           exception applies\n"
        "Why        its socket is bound to an address that is routed around the VPN\n"
        f"Rule       100: from {REAL} lookup main\n"
        "Route      default via 192.0.2.1 dev nsxout, in table main\n"
        f"Next       remove the rule: `sudo ip rule del pref 100 from {REAL} lookup\n"
        "           main`; it comes back when the program that made it does so again\n"
    )


@pytest.mark.parametrize(
    ("keys", "way"),
    [
        ("", "blocks STUN there, unless an exception applies"),
        ('mode = "redirect"', "redirects STUN into the VPN, or blocks it if it cannot"),
        ('interfaces = ["none"]\nwhen_vpn_down = "allow"', 'lets STUN pass, by when_vpn_down = "allow"'),
    ],
)
def test_what_stunwall_does_is_as_configured(
    machine: None, stunwall: Stunwall, folder: Path, keys: str, way: str
) -> None:
    (folder / "c.toml").write_text(keys)
    assert asked(stunwall, "--to", f"{SERVER}:3478", "--device", "nsxout")["way"].endswith(way)


def test_without_a_vpn_the_user_learns_how_to_name_one(
    machine: None, stunwall: Stunwall, folder: Path
) -> None:
    (folder / "c.toml").write_text('interfaces = ["none"]')
    said = asked(stunwall, "--to", f"{SERVER}:3478")
    assert said["cause"] == Cause.NO_VPN
    assert "name its interface in the configuration" in said["next"]


def test_a_client_whose_mark_or_rule_it_is_is_named(machine: None, stunwall: Stunwall) -> None:
    assert (
        "wg-quick sets this mark on WireGuard's own packets"
        in (asked(stunwall, "--to", f"{SERVER}:3478", "--mark", "51820")["next"])
    )
    # Tailscale's rule for its own packets must stay.
    ip(*["rule", "add", "fwmark", "0x80000/0xff0000", "lookup", "main", "pref", "5210"])
    said = asked(stunwall, "--to", f"{SERVER}:3478", "--mark", "0x80001")
    assert (said["cause"], said["remove"]) == (Cause.MARK, [])
    assert "Tailscale sets this mark on its own packets" in said["next"]
    ip(*f"rule add from {REAL} lookup main pref 9003".split())
    said = asked(stunwall, "--to", f"{SERVER}:3478", "--from", REAL)
    assert "It looks like a rule of sing-box" in said["next"]
    assert "`route_exclude_address`" in said["next"]


def test_a_name_is_looked_up_by_the_system(
    machine: None, stunwall: Stunwall, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = []

    def found(name: str, port: None, family: int, kind: int) -> list[Any]:
        wanted.append((name, family))
        return [(family, kind, 0, "", (SERVER6 if family == socket.AF_INET6 else SERVER, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    assert asked(stunwall, "--to", "stun.example.org:80")["destination"] == SERVER
    assert asked(stunwall, "--to", "stun.example.org:80", "-6")["destination"] == SERVER6
    assert wanted == [("stun.example.org", family) for family in (socket.AF_UNSPEC, socket.AF_INET6)]
    asked(stunwall, "--to", f"{SERVER}:80")
    asked(stunwall, "--to", f"[{SERVER6}]:80", "-6")
    assert len(wanted) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "expected either the ID of an entry, or --to HOST:PORT"),
        ("1 --to 203.0.113.7:1", "expected either the ID of an entry, or --to HOST:PORT"),
        ("--to 203.0.113.7", "expected HOST:PORT"),
        ("--to 203.0.113.7:0", "expected HOST:PORT"),
        ("--to 203.0.113.7:65536", "expected HOST:PORT"),
        ("--to 203.0.113.7:²", "expected HOST:PORT"),
        ("--to :80", "expected HOST:PORT"),
        ("--to 224.0.0.1:80", "224.0.0.1 is not the address of one machine"),
        ("--to [::]:80", ":: is not the address of one machine"),
        ("--to 203.0.113.7:1 -6", "203.0.113.7 is an IPv4 address: leave out -6"),
        ("--to 203.0.113.7:1 --from x", "expected an IP address"),
        ("--to 203.0.113.7:1 --from ::1", "expected an IPv4 address"),
        ("--to 203.0.113.7:1 --from 198.51.100.9 --device lo", "is no address of this machine"),
        ("--to 203.0.113.7:1 --device none", "there is no such interface"),
        ("--to 203.0.113.7:1 --uid none", "there is no such user"),
        ("--to 203.0.113.7:1 --uid 4294967296", "expected a number from 0 to 0xffffffff"),
        ("--to 203.0.113.7:1 --mark -1", "expected a number from 0 to 0xffffffff"),
        ("--to 203.0.113.7:1 --mark x", "expected a number from 0 to 0xffffffff"),
    ],
)
def test_a_question_without_an_answer_is_exit_code_2(stunwall: Stunwall, arguments: str, told: str) -> None:
    result = stunwall("explain", *arguments.split())
    assert (result.code, result.out) == (2, "")
    assert told in result.err


def test_a_name_that_is_not_found_is_exit_code_1(stunwall: Stunwall) -> None:
    for name in ("a.invalid", "x" * 300, HOSTILE):
        result = stunwall("explain", "--to", f"{name}:80")
        assert (result.code, result.out) == (1, "")
        assert "give the address itself" in result.err
        assert all(char.isprintable() or char == "\n" for char in result.err)


# What the record has, what is set up besides, the cause, and the address and device that the socket was bound to.
ENTRIES: dict[str, tuple[dict[str, Any], str, tuple[Cause, str, str]]] = {
    "not bound": (
        {"interface": "nsxout"},
        f"route add {SERVER} via 192.0.2.1",
        (Cause.ROUTE, "", ""),
    ),
    "bound to the address": ({"interface": "nsxout"}, BY_SOURCE, (Cause.SOURCE_BOUND, REAL, "")),
    "bound to the device": ({"interface": "nsxout"}, "", (Cause.DEVICE_BOUND, REAL, "nsxout")),
    "IPv6": (
        {"interface": "nsxout", "source": REAL6, "destination": SERVER6, "family": 6},
        "",
        (Cause.NO_FAMILY, "", ""),
    ),
    "forwarded": (
        {"interface": "nsxout", "source": "172.17.0.9"},
        "rule add iif nsxin lookup main pref 90",
        (Cause.FORWARDED, "172.17.0.9", ""),
    ),
    "forwarded, by a route": (
        {"interface": "nsxout", "source": "172.17.0.9"},
        f"route add {SERVER} via 192.0.2.1",
        (Cause.ROUTE, "172.17.0.9", ""),
    ),
    "an answer from a server": (
        {
            "interface": "nsxout",
            "verdict": "exposed",
            "reason": "exposed",
            "source": SERVER,
            "source_port": 3478,
            "destination": REAL,
            "destination_port": 40000,
        },
        BY_SOURCE,
        (Cause.SOURCE_BOUND, REAL, ""),
    ),
    "an interface that is gone": ({"interface": "wlan9"}, "", (Cause.CHANGED, REAL, "")),
    "without a transport": (
        {"interface": "nsxout", "transport": "", "protocol": "unknown"},
        "",
        (Cause.DEVICE_BOUND, REAL, "nsxout"),
    ),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_explained_by_the_way_that_its_packet_took(
    machine: None, stunwall: Stunwall, folder: Path, entry: str
) -> None:
    values, setup, expected = ENTRIES[entry]
    if setup:
        ip(*setup.split())
    record(folder, replace(event(40000), **values))
    said = asked(stunwall, "1")
    assert said["id"] == 1
    assert (said["cause"], said["source"], said["device"]) == expected
    assert said["port"] == 3478
    shown = stunwall("explain", "1")
    assert (shown.code, shown.err) == (0, "")
    assert "Why        " in shown.out


def test_the_cause_of_that_time_is_said_if_the_packet_would_go_another_way_now(
    machine: None, stunwall: Stunwall, folder: Path
) -> None:
    then = "its socket was bound (rule 7)"
    record(folder, replace(event(40000), interface="wlan9", cause="source-bound", cause_text=then))
    said = asked(stunwall, "1")
    assert (said["cause"], said["why"]) == (Cause.CHANGED, f"{Cause.CHANGED.sentence}. At that time: {then}")


def test_other_ways_in_which_it_may_have_left_are_named(
    machine: None, stunwall: Stunwall, folder: Path
) -> None:
    record(folder, replace(event(40000), source=REAL, interface="nsxout"))
    assert asked(stunwall, "1")["other_causes"] == []
    ip(*["rule", "add", "fwmark", "0x20", "lookup", "main", "pref", "90"])
    said = asked(stunwall, "1")
    assert (said["cause"], said["other_causes"]) == (Cause.DEVICE_BOUND, [Cause.MARK])
    assert f"Or         {Cause.MARK.sentence}\n" in stunwall("explain", "1").out
    ip(*["rule", "add", "uidrange", "1000-1000", "lookup", "main", "pref", "91"])
    said = asked(stunwall, "1")
    assert (said["cause"], said["uid"]) == (Cause.RULE, 1000)
    assert said["other_causes"] == [Cause.DEVICE_BOUND, Cause.MARK]


def test_the_preset_for_the_program_that_was_blocked_is_named(
    machine: None, stunwall: Stunwall, folder: Path
) -> None:
    program: dict[str, Any] = {
        "interface": "nsxout",
        "uid": 0,
        "user": "root",
        "executable": "/usr/sbin/tailscaled",
    }
    record(
        folder,
        replace(event(40000), **program, unit="tailscaled.service"),
        replace(event(40001), **program, unit="session-2.scope"),
        replace(event(40002), **program | {"executable": "/usr/bin/firefox"}),
    )
    reveals = presets()["tailscale"].reveals
    command = "sudo stunwall allow preset tailscale"
    found = {"name": "tailscale", "by_name_only": False, "command": command, "reveals": reveals}
    assert [asked(stunwall, f"{number}")["preset"] for number in (1, 2, 3)] == [
        found,
        found | {"by_name_only": True},
        None,
    ]
    first, second, third = (" ".join(stunwall("explain", f"{number}").out.split()) for number in (1, 2, 3))
    assert f"Preset `{command}` is for this program, and reveals {reveals}" in first
    assert f"Preset `{command}` is for a program of this name, which any can have, and reveals" in second
    assert "Preset" not in third


def test_a_browser_whose_policy_forbids_the_attempt_is_told(
    machine: None, stunwall: Stunwall, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ip(*BY_SOURCE.split())
    (folder / "root").mkdir()
    fake = Fake(folder / "root")
    fake.install("chromium system")
    policy = fake.write(
        "etc/chromium/policies/managed/a.json", {"WebRtcIPHandling": "default_public_interface_only"}
    )
    os.utime(policy, (1, 1))
    monkeypatch.setattr(browsers, "this_machine", lambda: fake.machine)
    program: dict[str, Any] = {"interface": "nsxout", "source": REAL, "uid": 0}
    program["executable"] = "/usr/lib/chromium/chromium"
    record(
        folder, replace(event(40000), **program), replace(event(40001), **program | {"executable": "curl"})
    )
    assert asked(stunwall, "1")["cause"] == Cause.SOURCE_BOUND
    told = f"the policy default_public_interface_only in {policy} forbids Chromium this attempt"
    assert asked(stunwall, "1")["contradiction"].startswith(told)
    assert "\nBrowser    the policy default_public_interface_only in" in stunwall("explain", "1").out
    assert asked(stunwall, "2")["contradiction"] == ""


def test_an_entry_that_cannot_be_explained_is_exit_code_1(stunwall: Stunwall, folder: Path) -> None:
    pause = replace(event(), source="", destination="", verdict="paused")
    damaged: list[dict[str, Any]] = [
        {"source": "x"},
        {"destination": HOSTILE},
        {"destination": "2001:db8::1"},
        {"transport": "x"},
    ]
    record(folder, pause, *(replace(event(port), **values) for port, values in enumerate(damaged, 2)))
    assert "not about a packet" in stunwall("explain", "1").err
    for number in range(1, 7):
        result = stunwall("explain", str(number))
        assert (result.code, result.out) == (1, ""), number
        assert result.err.startswith("stunwall: ")
    assert "there is no entry 6" in result.err


def test_any_user_may_ask_and_no_daemon_need_run(machine: None) -> None:
    server = ip_address(SERVER)
    os.seteuid(65534)  # and with it, all capabilities are gone
    try:
        with pytest.raises(PermissionError):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        found = explanation.read(server, None, Config())
    finally:
        os.seteuid(0)
    assert explanation.answer(Packet(server), found, Config())["interfaces"] == ["nsxvpn"]
