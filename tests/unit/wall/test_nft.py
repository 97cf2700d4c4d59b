"""nft.py: libnftables in this process, what goes wrong with it, and what is said about it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stunwall.config import Allow
from stunwall.wall import inspection, queue_rules, state, table
from stunwall.wall.child import in_child
from stunwall.wall.nft import Nft, NftError, NftPermissionError
from unit.wall_kernel import EMPTY, HIERARCHY, MASK, QUEUE, run_nft

pytestmark = pytest.mark.usefixtures("clear")

CHANGES = 2000
GROWTH = 1024  # KiB that so many changes may add; a leak of a transaction's text would be ten times as much


def resident() -> int:
    """The memory of this process in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_without_rights_it_is_said_so_with_the_cure(nft: Nft) -> None:
    table.load(nft, EMPTY, MASK)

    def unprivileged() -> str:
        os.setuid(65534)
        with closing(Nft()) as own:
            state.read(own)
        return ""

    with pytest.raises(NftPermissionError) as caught:
        in_child(unprivileged)
    assert caught.value.exit_code == 4
    assert str(caught.value) == "only root may read or change the kernel's rules (CAP_NET_ADMIN): try sudo"


def test_a_machine_without_the_library_is_told_the_package() -> None:
    with pytest.raises(NftError, match="install the package nftables"):
        Nft("libnftables.so.999")


def test_a_kernel_that_gives_no_netlink_socket_is_an_error_and_does_not_end_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(NftError, match="CONFIG_NF_TABLES"):
        Nft()


def test_a_context_survives_thousands_of_changes_and_huge_errors(nft: Nft) -> None:
    table.load(nft, EMPTY, MASK)

    def change() -> None:
        for number in range(CHANGES):
            nft.apply(f'flush set inet stunwall vpn\nadd element inet stunwall vpn {{ "wg{number}" }}\n')
            if number % 20 == 0:
                with pytest.raises(NftError):
                    nft.apply("no statement " * 10_000)
                assert nft.list_table("inet stunwall")

    change()
    before = resident()
    change()
    assert resident() - before < GROWTH


def test_the_file_can_be_loaded_again_and_again_by_one_context(nft: Nft) -> None:
    for _ in range(3):
        table.load(nft, EMPTY, MASK)
    table.load(nft, EMPTY, 0x60)
    assert "0x00000060" in run_nft("list", "table", "inet", "stunwall")


def test_the_port_is_that_of_our_transactions(nft: Nft) -> None:
    with closing(Nft()) as second:
        for each in (nft, second):
            each.apply("add table inet other")
        assert nft.port != second.port
        for each in (nft, second):
            assert each.port == each.socket.getsockname()[0]
            assert each.port >= 1 << 30  # the port that is our pid is left to the queue


def test_nothing_is_printed(nft: Nft, capfd: pytest.CaptureFixture[str]) -> None:
    table.load(nft, EMPTY, MASK)
    queue_rules.attach(nft, QUEUE)  # nft complains of the xtables target, where the kernel needs it
    assert nft.list_table("inet stunwall")
    with pytest.raises(NftError):
        nft.apply("nonsense")
    assert nft.refused("nonsense")
    print("still there", file=sys.stderr)
    assert capfd.readouterr() == ("", "still there\n")


def test_a_dry_run_loads_nothing(nft: Nft) -> None:
    assert nft.refused("table inet other {\n}\n") is None
    assert nft.refused("table inet other {\nchain c {\nnonsense\n}\n}\n")
    assert nft.list_table("inet other") is None
    nft.apply("table inet other {\n}\n")
    assert nft.list_table("inet other") == "table inet other {\n}\n"


def test_a_signal_does_not_interrupt_a_transaction(nft: Nft) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    stop = threading.Event()

    def disturb() -> None:
        while not stop.wait(0.0005):
            os.kill(os.getpid(), signal.SIGUSR1)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        for _ in range(100):
            table.load(nft, EMPTY, MASK)
    finally:
        stop.set()
        disturber.join()
        signal.signal(signal.SIGUSR1, before)
    assert seen


def test_replies_that_were_lost_are_an_error_and_the_next_call_is_right(
    nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.load(nft, EMPTY, MASK)
    size = nft.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    # Nobody reads this reply: the next call finds it in the socket.
    nft.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with pytest.raises(NftError):
        nft.apply("flush chain inet stunwall nowhere\n" * 400)
    nft.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    assert nft.list_table("inet stunwall")
    nft.apply("flush chain inet stunwall hand_over")


def test_a_batch_that_the_kernel_refuses_is_an_error(nft: Nft) -> None:
    with pytest.raises(OSError, match="No such file"):
        queue_rules._attach_by_target(nft, QUEUE, queue_rules.chains(()))  # there is no table
    nft.apply("add table inet other")


def lacking(piece: str) -> Callable[..., str]:
    """What Nft._run does where the kernel lacks a piece."""
    run = Nft._run

    def fake(self: Nft, text: str, flags: int = 0, *, dry: bool = False) -> str:
        if piece in text:
            raise NftError("Error: hm")
        return run(self, text, flags, dry=dry)

    return fake


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("@ih", "matching the payload of TCP"),
        ("notrack", "CONFIG_NFT_CT"),
        ("limit rate", "nft_limit"),
        ("table inet", "CONFIG_NF_TABLES_INET"),
    ],
)
def test_a_kernel_that_lacks_a_piece_is_told_which_and_how_to_get_it(
    nft: Nft, monkeypatch: pytest.MonkeyPatch, missing: str, words: str
) -> None:
    monkeypatch.setattr(Nft, "_run", lacking(missing))
    with pytest.raises(NftError, match="the kernel lacks") as caught:
        table.load(nft, EMPTY, MASK)
    assert words in str(caught.value)
    assert "modprobe" in str(caught.value)


def test_a_failure_that_no_missing_piece_explains_is_told_in_nfts_words(
    nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Nft, "apply", lacking(""))
    with pytest.raises(NftError, match="hm"):
        table.load(nft, EMPTY, MASK)


def test_the_ruleset_is_listed_without_the_elements_of_sets(nft: Nft) -> None:
    table.load(nft, EMPTY, MASK)
    # A table with one flag, of which nft prints the JSON wrongly: the process that prints it may die, this one may not.
    run_nft("add", "table", "inet", "other", "{ flags dormant; }")
    ruleset = inspection.read_ruleset()
    (lengths,) = (each["set"] for each in ruleset if each.get("set", {}).get("name") == "classic_lengths")
    assert "elem" not in lengths
    assert any("rule" in each for each in ruleset)


@pytest.mark.parametrize("flags", ["dormant", "owner"])
def test_rules_of_a_table_with_flags_are_listed_too(nft: Nft, flags: str) -> None:
    nft.apply(f"table inet other {{\nflags {flags}\nchain c {{\nmeta mark set 7\n}}\nchain d {{\n}}\n}}\n")
    found = nft.list_ruleset()
    assert [each["table"]["name"] for each in found if "table" in each] == ["other"]
    assert [each["chain"]["name"] for each in found if "chain" in each] == ["c", "d"]
    (rule,) = (each["rule"] for each in found if "rule" in each)
    assert rule["expr"] == [{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 7}}]


def test_an_nft_without_json_is_told_with_its_cure_and_everything_else_works(
    nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Nft._run

    def without_json(self: Nft, text: str, flags: int = 0) -> str:
        if flags & 1 << 4:
            raise NftError("libnftables failed without a reason (-1)")
        return run(self, text, flags)

    monkeypatch.setattr(Nft, "_run", without_json)
    table.load(nft, EMPTY, MASK)
    assert state.read(nft) is not None
    with pytest.raises(NftError, match="was built without libjansson"):
        inspection.read_ruleset()


@pytest.mark.parametrize("printed", ["", "nftables", "[]", "{}", "null", "{", '{"nftables"'])
def test_what_is_no_json_is_an_error(monkeypatch: pytest.MonkeyPatch, printed: str) -> None:
    text = "table inet other {\n}\n"
    monkeypatch.setattr(Nft, "_run", lambda self, what, flags: text if flags == 1 << 11 else printed)
    with pytest.raises(NftError, match="no JSON"):
        inspection.read_ruleset()


def test_a_child_that_dies_is_an_error_and_no_more() -> None:
    def die() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    with pytest.raises(NftError, match="died"):
        in_child(die)
    assert in_child(lambda: json.dumps("ä")) == json.dumps("ä")


def test_a_context_that_is_closed_refuses_what_comes_later() -> None:
    one = Nft()
    one.close()
    with pytest.raises(NftError, match="closed already"):
        one.apply("add table inet other")


def test_a_context_that_is_closed_leaves_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        Nft().close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_no_name_of_a_cgroup_is_looked_up(nft: Nft, unit: str) -> None:
    """nft would walk through the whole hierarchy, which any user can make too deep for its stack."""
    number = (HIERARCHY / unit).stat().st_ino
    rule = Allow("w", unit=unit)
    table.load(nft, replace(EMPTY, allow=(rule,), cgroups={rule: ((unit, number),)}), MASK)
    assert f"socket cgroupv2 level 2 {number} counter" in (nft.list_table("inet stunwall") or "")
    assert f'socket cgroupv2 level 2 "{unit}"' in run_nft("list", "table", "inet", "stunwall")
    assert list(Path("/").iterdir()), "only a listing is restricted"


def test_no_program_is_started(nft: Nft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_: pytest.fail("a program was started"))
    monkeypatch.setenv("PATH", "/nowhere")
    table.load(nft, EMPTY, MASK)
    assert state.read(nft) is not None
