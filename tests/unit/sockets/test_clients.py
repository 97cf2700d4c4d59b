"""sockets/clients.py: which machine behind this one sent a packet, asked of the real kernel and of real files."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stunwall.model import EXPOSED, Event
from stunwall.sockets import clients, leases
from stunwall.sockets.clients import Clients
from unit.recorded import event

MAC, OTHER = "52:54:00:77:00:01", "52:54:00:77:00:02"
FORWARDED = replace(event(4000), source="10.77.0.11", incoming="lan0")


@pytest.fixture(scope="module", autouse=True)
def lan() -> Iterator[None]:
    """An interface with two neighbours, in the tests' own namespace."""
    script = f"""
        link add lan0 type veth peer name lan0p
        addr add 10.77.0.1/24 dev lan0
        link set lan0 up
        neigh add 10.77.0.11 lladdr {MAC} dev lan0 nud permanent
        neigh add 2001:db8:77::11 lladdr {MAC} dev lan0 nud permanent
    """
    subprocess.run(["ip", "-batch", "-"], input=script, text=True, check=True)
    yield
    subprocess.run(["ip", "link", "del", "lan0"], check=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dnsmasq.leases"


@pytest.fixture
def known(file: Path) -> Iterator[Clients]:
    with closing(Clients([(str(file), leases.dnsmasq)])) as made:
        yield made


def lease(mac: str, name: str, address: str = "10.77.0.11") -> str:
    return f"1767225600 {mac} {address} {name} *\n"


def seen(known: Clients, event: Event) -> tuple[str, str]:
    found = known.identify(event)
    assert replace(found, mac="", client="") == event
    return found.mac, found.client


def test_a_neighbour_with_a_lease_has_its_name(known: Clients, file: Path) -> None:
    file.write_text(lease(MAC, "laptop"))
    assert seen(known, FORWARDED) == (MAC, "laptop")


def test_an_ipv6_address_has_the_name_of_the_lease_with_its_mac_address(known: Clients, file: Path) -> None:
    file.write_text(lease(MAC, "laptop"))
    assert seen(known, replace(FORWARDED, family=6, source="2001:db8:77::11")) == (MAC, "laptop")


def test_a_lease_of_another_machine_gives_no_name(known: Clients, file: Path) -> None:
    file.write_text(lease(OTHER, "before"))
    assert seen(known, FORWARDED) == (MAC, "")


def test_a_machine_that_is_no_neighbour_has_the_name_of_its_address(known: Clients, file: Path) -> None:
    file.write_text(lease(MAC, "laptop", "10.78.0.5"))
    assert seen(known, replace(FORWARDED, source="10.78.0.5")) == ("", "laptop")


def test_without_a_file_the_mac_address_is_known(known: Clients) -> None:
    assert seen(known, FORWARDED) == (MAC, "")


@pytest.mark.parametrize(
    "other",
    [
        replace(FORWARDED, incoming=""),
        replace(FORWARDED, verdict=EXPOSED),
        replace(FORWARDED, source=""),
        Event.note(1.0, "paused", "why"),
    ],
)
def test_what_no_machine_behind_this_one_sent_stays_as_it_is(
    known: Clients, file: Path, other: Event
) -> None:
    file.write_text(lease(MAC, "laptop"))
    assert known.identify(other) is other


def test_an_interface_that_is_gone_and_an_address_that_is_none_are_no_error(known: Clients) -> None:
    assert seen(known, replace(FORWARDED, incoming="gone0")) == ("", "")
    assert seen(known, replace(FORWARDED, source="none")) == ("", "")


def test_a_file_is_read_again_once_it_has_changed(
    known: Clients, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(lease(MAC, "laptop"))
    assert seen(known, FORWARDED) == (MAC, "laptop")
    file.write_text(lease(MAC, "desktop"))
    assert seen(known, FORWARDED) == (MAC, "laptop")  # within _KEPT
    monkeypatch.setattr(clients, "_KEPT", 0.0)
    known._until = 0.0
    assert seen(known, FORWARDED) == (MAC, "desktop")


def test_of_a_large_file_the_end_is_read_and_a_pipe_is_none(
    known: Clients, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_LARGEST", 100)
    file.write_text(lease(OTHER, "x" * 60) * 10 + lease(MAC, "laptop"))
    assert seen(known, FORWARDED) == (MAC, "laptop")
    file.unlink()
    os.mkfifo(file)
    known._until = 0.0
    assert seen(known, FORWARDED) == (MAC, "")


def test_a_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "lan0").write_text('{"Leases": [{"Address": [10, 77, 0, 11], "Hostname": "laptop"}]}')
    with closing(Clients([(f"{tmp_path}/*", leases.networkd), ("/none/*", leases.networkd)])) as known:
        assert seen(known, FORWARDED) == (MAC, "laptop")
