"""What programs that make VPNs say about themselves."""

from ipaddress import ip_address

import pytest
from hypothesis import given

from stunwall.vpn import wireguard
from stunwall.vpn.interfaces import Link
from unit.damage import damaged

ANSWERS = [
    b"private_key=e84b5a6d\nlisten_port=12912\npublic_key=b85996fe\nendpoint=[abcd:23::33%2]:51820\nerrno=0\n\n",
    b"public_key=58402e69\nallowed_ip=192.168.4.6/32\nendpoint=182.122.22.19:3233\nendpoint=5.152.198.39:51820\n\n",
]


@given(answer=damaged(ANSWERS))
def test_endpoints_of_any_answer_are_addresses_with_ports(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(wireguard, "_answer", lambda file: answer.decode(errors="replace"))
    for address, port in wireguard.endpoints([Link(7, "wgt0", "tun", False, up=True, running=True)]):
        assert ip_address(str(address)) == address
        assert "%" not in str(address)
        assert 0 < port < 65536
