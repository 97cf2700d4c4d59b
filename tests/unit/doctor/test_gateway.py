"""doctor/gateway.py: a LAN side that is not inside, and a full connection tracking table."""

from pathlib import Path

import pytest

from stunwall.doctor import gateway
from unit.fake_machine import NOTE, WARNING, FakeMachine, status

# Linux 6.12: lan0 has 10.77.0.0/24, eth0 the default route, usb0 one by IPv6 alone.
ROUTES = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0101A8C0	0003	0	0	0	00000000	0	0	0
eth0	0001A8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
lan0	00004D0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
usb0	0000A8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
"""
NONE = "0" * 32
IPV6_ROUTES = f"""{NONE} 00 {NONE} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 usb0
{NONE} 00 {NONE} 00 {NONE} ffffffff 00000001 00000000 00200200 lo
"""


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The /proc of a machine whose interfaces all forward."""
    root = tmp_path / "proc"
    write(root, "net/route", ROUTES)
    write(root, "net/ipv6_route", IPV6_ROUTES)
    for name in ("eth0", "lan0", "usb0"):
        write(root, f"sys/net/ipv4/conf/{name}/forwarding", "1\n")
    monkeypatch.setattr(gateway, "_PROC", root)
    return root


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def interface(name: str, *, counts: bool = False, inside: bool = False) -> dict[str, object]:
    return {"interface": name, "counts": counts, "inside": inside, "doubt": False, "why": "why"}


def test_a_lan_side_that_is_not_inside_is_a_note(fake: FakeMachine, proc: Path) -> None:
    fake.daemon = status(interfaces=[interface(name) for name in ("lo", "eth0", "lan0", "usb0")])
    found = fake.one("gateway", NOTE)
    assert found.what == "packets are forwarded from lan0, which is not inside"
    assert 'set inside = ["lan0"] in the configuration' in found.next


@pytest.mark.parametrize("lan", [interface("lan0", inside=True), interface("lan0", counts=True)])
def test_one_that_is_inside_or_the_vpn_is_none(fake: FakeMachine, proc: Path, lan: dict[str, object]) -> None:
    fake.daemon = status(interfaces=[interface("eth0"), lan])
    assert not fake.find("gateway")


def test_an_interface_that_does_not_forward_is_none(fake: FakeMachine, proc: Path) -> None:
    write(proc, "sys/net/ipv4/conf/lan0/forwarding", "0\n")
    fake.daemon = status(interfaces=[interface("eth0"), interface("lan0")])
    assert not fake.find("gateway")
    write(proc, "sys/net/ipv6/conf/lan0/forwarding", "1\n")
    assert NOTE in fake.find("gateway")


@pytest.mark.parametrize(("used", "warns"), [(89_999, False), (90_000, True), (100_000, True)])
def test_a_connection_tracking_table_that_is_nearly_full_is_a_warning(
    fake: FakeMachine, proc: Path, used: int, warns: bool
) -> None:
    fake.daemon = None
    write(proc, "sys/net/netfilter/nf_conntrack_max", "100000\n")
    write(proc, "sys/net/netfilter/nf_conntrack_count", f"{used}\n")
    assert (WARNING in fake.find("gateway")) == warns
    if warns:
        what = f"connection tracking is nearly full: {used:,} of 100,000 connections"
        assert fake.one("gateway", WARNING).what == what


def test_a_machine_that_tracks_no_connections_has_nothing_to_say(fake: FakeMachine, proc: Path) -> None:
    fake.daemon = None
    assert not fake.find("gateway")
