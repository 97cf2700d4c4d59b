"""sockets/leases.py: what DHCP servers write of their clients; the samples are as these servers write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stunwall.sockets import leases
from stunwall.sockets.leases import Lease

MAC = "52:54:00:93:8c:63"
# dnsmasq 2.90
DNSMASQ = f"""1767225600 {MAC} 10.77.0.11 laptop 01:{MAC}
0 52:54:00:00:00:02 10.77.0.12 * *
duid 00:01:00:01:2f:0a:11:22:52:54:00:93:8c:63
1767225600 9669731 2001:db8:77::11 phone 00:01:00:01:2f:0a
"""
# ISC DHCP 4.4
ISC = f"""# The format of this file is documented in the dhcpd.leases(5) manual page.
authoring-byte-order little-endian;
server-duid "\\000\\001\\000\\001%>\\347\\000";
lease 10.77.0.11 {{
  starts 0 2026/01/04 09:58:13;
  ends 0 2026/01/04 10:03:13;
  binding state active;
  next binding state free;
  hardware ethernet 52:54:00:00:00:99;
  client-hostname "before";
}}
lease 10.77.0.12 {{
  binding state free;
  hardware ethernet 52:54:00:00:00:02;
  client-hostname "gone";
}}
lease 10.77.0.11 {{
  starts 0 2026/01/04 10:00:42;
  binding state active;
  next binding state free;
  rewind binding state free;
  hardware ethernet {MAC};
  uid "\\001RT\\000\\223\\214c";
  client-hostname "laptop";
}}
"""
# Kea 2.2
KEA = f"""address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
10.77.0.11,52:54:00:00:00:99,,3600,1767225600,1,0,0,before,0,,0
10.77.0.12,52:54:00:00:00:02,,3600,1767225600,1,0,0,declined,1,,0
10.77.0.11,{MAC},01:{MAC},3600,1767225600,1,0,0,laptop.lan.,0,,0
"""
NETWORKD = json.dumps(
    {
        "BootID": "0f",
        "Leases": [
            {
                "ClientId": [1, 82, 84, 0, 147, 140, 99],
                "Address": [10, 77, 0, 11],
                "Hostname": "laptop",
                "HardwareAddressType": 1,
                "HardwareAddress": [82, 84, 0, 147, 140, 99],
                "ExpirationUSec": 1,
            }
        ],
    }
)
HOSTS = "127.0.0.1 localhost\n10.77.0.11\tlaptop laptop.lan # mine\n# 10.77.0.12 off\n"
LAPTOP = Lease("10.77.0.11", MAC, "laptop")


def test_dnsmasq() -> None:
    assert list(leases.dnsmasq(DNSMASQ)) == [
        LAPTOP,
        Lease("10.77.0.12", "52:54:00:00:00:02", ""),
        Lease("2001:db8:77::11", "", "phone"),
    ]


def test_isc_counts_the_last_lease_of_an_address_if_it_is_active() -> None:
    assert list(leases.isc(ISC)) == [LAPTOP]


@pytest.mark.parametrize("key", ["uid", "client-hostname", "set vendor-class-identifier ="])
@pytest.mark.parametrize("before", ["", "\\\\", '\\"', "\\001"])
def test_isc_reads_no_lease_in_what_a_client_says(key: str, before: str) -> None:
    said = f"{before}lease 10.77.0.11 {{binding state active;hardware ethernet {MAC};"
    text = ISC.replace("lease 10.77.0.12 {\n", f'lease 10.77.0.12 {{ {key} "{said}";')
    assert list(leases.isc(text.replace("binding state free", "binding state active"))) == [
        LAPTOP,
        Lease("10.77.0.12", "52:54:00:00:00:02", "gone"),
    ]


def test_isc_goes_on_after_a_string_that_was_cut() -> None:
    assert list(leases.isc(f'4\\214c";\n}}\n{ISC}')) == [LAPTOP]


def test_kea_reads_what_precedes_a_line_that_is_none() -> None:
    assert list(leases.kea(f"{KEA}10.77.0.13,{'x' * 200_000},,,,,,,,0,,\n")) == list(leases.kea(KEA))


def test_kea_counts_the_last_lease_of_an_address_if_it_is_in_use() -> None:
    assert list(leases.kea(KEA)) == [LAPTOP._replace(name="laptop.lan")]


def test_networkd() -> None:
    assert list(leases.networkd(NETWORKD)) == [LAPTOP]


def test_hosts() -> None:
    assert list(leases.hosts(HOSTS)) == [Lease("127.0.0.1", "", "localhost"), LAPTOP._replace(mac="")]


@pytest.mark.parametrize(
    "name", ["\x1b[31mred", "a\u202eb", "x" * 65, "-a", "a-", "é", "..", "*", "a;b", "a(b)", "'"]
)
def test_a_name_that_no_host_has_is_left_out(name: str) -> None:
    assert list(leases.dnsmasq(f"1 {MAC} 10.77.0.11 {name} *")) == [LAPTOP._replace(name="")]
    assert list(leases.isc(ISC.replace("laptop", name.replace('"', "")))) == [LAPTOP._replace(name="")]
    assert list(leases.networkd(NETWORKD.replace('"laptop"', json.dumps(name)))) == [LAPTOP._replace(name="")]


@given(st.text(), st.sampled_from([DNSMASQ, ISC, KEA, NETWORKD, HOSTS]), st.integers(0, 400))
def test_damaged_files_yield_only_names_that_hosts_have(damage: str, text: str, at: int) -> None:
    for damaged in (text[:at], text[:at] + damage + text[at:], damage):
        for parse in (leases.dnsmasq, leases.isc, leases.kea, leases.networkd, leases.hosts):
            for lease in parse(damaged):
                assert lease.name.isascii()
                assert lease.name.isprintable()
                assert len(lease.name) <= 64
                assert " " not in lease.name
                assert len(lease.mac) in (0, 17)
