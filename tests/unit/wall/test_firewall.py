"""firewall.py: the wall in the kernel of the tests' own network namespace."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stunwall import config
from stunwall.config import Allow
from stunwall.model import Transport
from stunwall.wall import contents, nft, queue_rules, ruleset, state, table
from stunwall.wall.contents import Contents
from stunwall.wall.nft import NftError, NftPermissionError
from stunwall.wall.state import Rule, Wall
from vectors.programs import message

MASK = config.Config().mark_mask
VERSION_0_1_0 = (Path(__file__).parents[2] / "vectors" / "stunwall-0.1.0.nft").read_text()
QUEUE = 4781
LINK, ADDRESS4, ADDRESS6 = "stw0", "192.0.2.17", "2001:db8:17::17"
SERVER4, SERVER6 = "203.0.113.7", "2001:db8:7::7"
TIMEOUT = 30  # seconds until a test fails that waits in vain
HIERARCHY = Path("/sys/fs/cgroup")
EMPTY = Contents(vpn=frozenset(), guard_ports=frozenset({3478, 5349}))


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def run_nft(*arguments: str, text: str | None = None) -> str:
    return subprocess.run(["nft", *arguments], input=text, capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def clear(lab: None) -> Iterator[None]:
    """No table before, none after."""
    run_nft("flush", "ruleset")
    yield
    run_nft("flush", "ruleset")


class Way:
    """A way to the servers, by an interface that is no VPN, and what comes out at its end."""

    def __init__(self) -> None:
        ip("link", "add", LINK, "type", "veth", "peer", "stw1")
        for name in (LINK, "stw1"):
            ip("link", "set", name, "up")
        ip("address", "add", f"{ADDRESS4}/24", "dev", LINK)
        ip("address", "add", f"{ADDRESS6}/64", "dev", LINK, "nodad")
        for family, server in (("-4", SERVER4), ("-6", SERVER6)):
            ip(family, "route", "add", server, "dev", LINK)
            ip(family, "neighbour", "add", server, "lladdr", "02:00:00:00:00:07", "dev", LINK)
        self._end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        self._end.bind(("stw1", 0))
        self._end.settimeout(TIMEOUT)

    def close(self) -> None:
        self._end.close()
        ip("link", "delete", LINK)

    def passes(self, server: str = SERVER4, port: int = 3478, payload: bytes = message(0x0001)) -> bool:
        """Send a datagram, and another that nobody stops; say whether the first comes before the second."""
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            try:
                sender.sendto(payload, (server, port))
            except PermissionError:  # how the sender is told that it was dropped
                return False
            sender.sendto(b"no STUN either", (server, port))
        seen: list[bytes] = []
        while not seen or not seen[-1].endswith(b"no STUN either"):
            seen.append(self._end.recv(65536))
        return any(packet.endswith(payload) for packet in seen[:-1])


@pytest.fixture
def way() -> Iterator[Way]:
    made = Way()
    yield made
    made.close()


def loaded() -> Wall:
    wall = state.read()
    assert wall is not None
    return wall


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


FULL = Contents(
    vpn=frozenset({"wg0", "tun-1", "a.b:c@d_e"}),
    guard_ports=frozenset({443, 5349}),
    families=frozenset({4, 6}),
    addresses=frozenset({("wg0", ip_address("10.9.8.7")), ("wg0", ip_address("fd00::7"))}),
    transport=frozenset({(ip_address(SERVER4), 51820), (ip_address(SERVER6), 51821)}),
    lan=frozenset({(ip_network("192.168.1.0/24"), "eth0"), (ip_network("fd00:1::/64"), "eth0")}),
    allow=(
        Allow("a", to=ip_network(f"{SERVER4}/32"), port=3478, protocol=Transport.UDP, interface="eth0"),
        Allow("b", to=ip_network("2001:db8::/32"), protocol=Transport.TCP, user=1000),
        Allow("c", unit="not-there.service"),
    ),
)


# Loading and reading


def test_what_is_loaded_is_read_back() -> None:
    assert state.read() is None
    table.load(FULL, MASK)
    wall = loaded()
    assert wall.intact
    assert (wall.queue, wall.paused) == (None, 0)
    assert set(wall.sets["vpn"]) == FULL.vpn
    assert set(wall.sets["guard_ports"]) == FULL.guard_ports
    assert set(wall.sets["redirectable"]) == {"ipv4", "ipv6"}
    assert set(wall.sets["by_program"]) == {"ipv4", "ipv6"}  # there is an exception by unit
    assert set(wall.sets["vpn_transport4"]) == {f"{SERVER4} . 51820"}
    assert set(wall.sets["vpn_transport6"]) == {f"{SERVER6} . 51821"}
    assert set(wall.sets["lan4"]) == {"192.168.1.0/24 . eth0"}
    assert set(wall.sets["lan6"]) == {"fd00:1::/64 . eth0"}
    assert [rule.comment for rule in wall.rules if rule.chain == "allow_rules"] == ["allow 1", "allow 2"]
    assert [rule for rule in wall.rules if rule.chain == "allow_programs"] == []  # its unit does not run
    assert set(wall.counters.values()) == {0}
    assert "10.9.8.7" in state.listing()


def test_loading_twice_is_loading_once() -> None:
    table.load(FULL, MASK)
    first, printed = loaded(), state.listing()
    table.load(FULL, MASK)
    assert (loaded(), state.listing()) == (first, printed)


def test_the_file_alone_keeps_what_is_in_the_sets_the_counters_and_the_pause(way: Way) -> None:
    table.load(FULL, MASK)
    assert not way.passes()
    table.pause(600, int(time.time()))
    before = loaded()
    assert before.counters["unattended"] == 1
    run_nft("-f", str(ruleset.file()))
    after = loaded()
    assert after.counters == before.counters
    # The file's own two ports come on top of the configuration's, until stunwalld fills the set anew.
    assert after.sets == before.sets | {"guard_ports": (443, 3478, 5349)}
    assert after.paused
    assert after.intact
    assert [rule for rule in after.rules if rule.chain in ("allow_rules", "to_stunwalld")] == []


@pytest.mark.parametrize("change", ["add element {} {{ 9 . 9 }}", "delete element {} {{ 28 . 0 }}"])
def test_another_programs_change_of_the_lengths_is_damage_until_the_file_is_loaded_again(change: str) -> None:
    table.load(FULL, MASK)
    run_nft(change.format("inet stunwall classic_lengths"))
    assert not loaded().intact
    table.load(FULL, MASK)
    assert loaded().intact


def test_the_file_replaces_that_of_version_0_1_0_and_keeps_its_sets_and_counters(way: Way) -> None:
    run_nft("-f", "-", text=VERSION_0_1_0)
    run_nft("add", "element", "inet", "stunwall", "vpn", "{ wg0 }")
    run_nft("add", "rule", "inet", "stunwall", "listener", "counter")
    assert not way.passes()
    before = loaded()
    assert before.counters["unattended"] == 1
    assert not before.intact
    run_nft("-f", str(ruleset.file()))
    after = loaded()
    assert after.intact
    assert after.counters == before.counters
    assert after.sets["vpn"] == ("wg0",)
    assert not way.passes()
    chains = re.findall(r"chain (\w+) \{", state.listing())
    assert sorted(chains) == sorted(re.findall(r"^    chain (\w+) \{", ruleset.text(), re.M))


def test_loading_replaces_what_was_in_the_sets_and_keeps_a_pause_and_the_counters(way: Way) -> None:
    table.load(FULL, MASK)
    assert not way.passes()
    table.pause(600, int(time.time()))
    table.load(EMPTY, MASK)
    wall = loaded()
    others = {"paused", "classic_lengths"}
    assert {name: elements for name, elements in wall.sets.items() if elements and name not in others} == {
        "guard_ports": (3478, 5349)
    }
    assert wall.paused
    assert wall.counters["unattended"] == 1
    assert "10.9.8.7" not in state.listing()


def test_removing_leaves_nothing_and_may_be_repeated() -> None:
    table.remove()
    table.load(FULL, MASK)
    queue_rules.attach(QUEUE)
    table.remove()
    table.remove()
    assert run_nft("list", "ruleset") == ""
    assert state.read() is None


def test_other_tables_are_left_alone() -> None:
    run_nft("-f", "-", text='table inet other {\nset vpn {\ntype ifname\nelements = { "eth0" }\n}\n}\n')
    before = run_nft("list", "table", "inet", "other")
    table.load(FULL, MASK)
    table.remove()
    assert run_nft("list", "ruleset") == before


def test_a_transaction_that_the_kernel_refuses_changes_nothing() -> None:
    table.load(FULL, MASK)
    before = state.listing()
    inside = frozenset({(ip_network("10.0.0.0/8"), "eth0"), (ip_network("10.1.0.0/16"), "eth0")})
    with pytest.raises(NftError):
        table.fill(replace(EMPTY, lan=inside), MASK, None)
    assert state.listing() == before


def test_without_a_wall_there_is_nothing_to_fill_or_open() -> None:
    for change in (
        lambda: table.fill(EMPTY, MASK, None),
        lambda: queue_rules.attach(QUEUE),
        queue_rules.detach,
        lambda: table.pause(60, int(time.time())),
        state.listing,
    ):
        with pytest.raises(NftError):
            change()
    assert run_nft("list", "ruleset") == ""


# Whole or damaged


CHAINS = sorted({chain for chain, _ in ruleset.expected(ruleset.file().read_text())})


@pytest.mark.parametrize("chain", CHAINS)
def test_a_flushed_chain_is_damage(chain: str) -> None:
    table.load(FULL, MASK)
    run_nft("flush", "chain", *contents.TABLE.split(), chain)
    assert not loaded().intact


def handles(chain: str) -> list[str]:
    return re.findall(
        r"# handle (\d+)$", run_nft("-a", "list", "chain", *contents.TABLE.split(), chain), re.M
    )[1:]


def test_every_single_rule_that_is_gone_is_damage() -> None:
    for chain in CHAINS:
        table.load(EMPTY, MASK)
        for place in range(len(handles(chain))):
            run_nft("delete", "rule", *contents.TABLE.split(), chain, "handle", handles(chain)[place])
            assert not loaded().intact, (chain, place)
            table.load(EMPTY, MASK)
            assert loaded().intact


@pytest.mark.parametrize("verb", ["insert", "add"])
@pytest.mark.parametrize("chain", ["postrouting", "decide", "hand_over", "may_leave", "output"])
def test_a_rule_of_somebody_elses_in_a_chain_of_the_file_is_damage(verb: str, chain: str) -> None:
    table.load(FULL, MASK)
    run_nft(verb, "rule", *contents.TABLE.split(), chain, "accept")
    assert not loaded().intact


def test_an_open_door_and_exceptions_are_no_damage() -> None:
    table.load(FULL, MASK)
    queue_rules.attach(QUEUE)
    assert loaded().intact
    table.fill(replace(FULL, allow=()), MASK, FULL)
    assert loaded().intact


# The door


@pytest.mark.parametrize("queue", [0, 1, QUEUE, 65535])
def test_the_door_is_open_for_its_queue_until_it_is_shut(queue: int) -> None:
    table.load(EMPTY, MASK)
    queue_rules.attach(queue)
    assert loaded().queue == queue
    queue_rules.attach(QUEUE)
    queue_rules.attach(QUEUE)
    assert loaded().queue == QUEUE
    queue_rules.detach()
    queue_rules.detach()
    assert loaded().queue is None
    assert [rule for rule in loaded().rules if rule.chain in ("to_stunwalld", "output_to_stunwalld")] == []


def test_an_open_door_without_a_listener_drops(way: Way) -> None:
    table.load(replace(EMPTY, families=frozenset({4, 6})), MASK)
    for server in (SERVER4, SERVER6):
        assert not way.passes(server)
        queue_rules.attach(QUEUE)
        assert not way.passes(server)
        assert way.passes(server, payload=b"no STUN")
        queue_rules.detach()
        assert not way.passes(server)


def test_loading_shuts_the_door_and_filling_leaves_it() -> None:
    table.load(EMPTY, MASK)
    queue_rules.attach(QUEUE)
    table.fill(FULL, MASK, EMPTY)
    assert loaded().queue == QUEUE
    table.load(FULL, MASK)
    assert loaded().queue is None


# Filling


def test_filling_replaces_everything() -> None:
    table.load(EMPTY, MASK)
    table.fill(FULL, MASK, EMPTY)
    filled = loaded()
    table.fill(EMPTY, MASK, FULL)
    emptied = loaded()
    table.load(FULL, MASK)
    assert filled.sets == loaded().sets
    table.load(EMPTY, MASK)
    assert emptied.sets == loaded().sets


def counted(comment: str) -> int | None:
    return next((rule.packets for rule in loaded().rules if rule.comment == comment), None)


def test_exceptions_that_stay_the_same_keep_their_counters(way: Way) -> None:
    contents = replace(EMPTY, allow=(Allow("a", port=3478), Allow("b", port=9)))
    table.load(contents, MASK)
    assert way.passes()
    assert way.passes()
    assert (counted("allow 1"), counted("allow 2")) == (2, 0)
    other = replace(contents, vpn=frozenset({"wg0"}), families=frozenset({4}))
    table.fill(other, MASK, contents)
    assert counted("allow 1") == 2
    table.fill(other, MASK, None)  # what the wall holds is not known
    assert counted("allow 1") == 0
    assert way.passes()
    fewer = replace(other, allow=contents.allow[:1])
    table.fill(fewer, MASK, other)
    assert (counted("allow 1"), counted("allow 2")) == (0, None)


# Exceptions


def to(network: str) -> Allow:
    return Allow("w", to=ip_network(network))


UDP, TCP = Transport.UDP, Transport.TCP


@pytest.mark.parametrize(
    ("rule", "server", "expected"),
    [
        (to("203.0.113.7/32"), SERVER4, True),
        (to("203.0.113.8/32"), SERVER4, False),
        (to("203.0.113.0/29"), SERVER4, True),
        (to("203.0.113.8/29"), SERVER4, False),
        (to("192.0.2.17/32"), SERVER4, False),  # the source is not meant
        (to("0.0.0.0/0"), SERVER4, True),
        (to("0.0.0.0/0"), SERVER6, False),
        (to("::/0"), SERVER6, True),
        (to("::/0"), SERVER4, False),
        (to("::ffff:203.0.113.7/128"), SERVER4, False),
        (to("2001:db8:7::7/128"), SERVER6, True),
        (to("2001:db8:8::/48"), SERVER6, False),
        (Allow("w", port=3478), SERVER4, True),
        (Allow("w", port=3478), SERVER6, True),
        (Allow("w", port=3479), SERVER4, False),
        (Allow("w", protocol=UDP), SERVER6, True),
        (Allow("w", protocol=TCP), SERVER4, False),
        (Allow("w", port=3478, protocol=UDP), SERVER4, True),
        (Allow("w", port=3478, protocol=TCP), SERVER4, False),
        (Allow("w", interface=LINK), SERVER6, True),
        (Allow("w", interface="stw"), SERVER4, False),
        (Allow("w", interface="stw00"), SERVER4, False),
        (Allow("w", user=0), SERVER4, True),
        (Allow("w", user=1), SERVER6, False),
        (Allow("w", user=2**32 - 2), SERVER4, False),
        (Allow("w", to=ip_network(SERVER4), port=3478, protocol=UDP, user=0, interface=LINK), SERVER4, True),
        (
            Allow("w", to=ip_network(SERVER4), port=3478, protocol=UDP, user=0, interface="eth1"),
            SERVER4,
            False,
        ),
        (Allow("w", to=ip_network(SERVER4), port=3478, protocol=UDP, user=1, interface=LINK), SERVER4, False),
        (Allow("w", port=3478, unit="not-there.service"), SERVER4, False),
    ],
)
@pytest.mark.parametrize("families", [frozenset[int](), frozenset({4, 6})])
def test_an_exception_lets_pass_what_matches_it_in_all_that_is_given(
    way: Way, rule: Allow, server: str, expected: bool, families: frozenset[int]
) -> None:
    table.load(replace(EMPTY, families=families, allow=(Allow("other", port=1), rule)), MASK)
    queue_rules.attach(QUEUE)
    assert way.passes(server) is expected
    assert bool(counted("allow 2")) is expected
    assert not counted("allow 1")


def test_the_vpns_own_packets_the_vpn_and_the_lan_pass(way: Way) -> None:
    four, six = ip_address(SERVER4), ip_address(SERVER6)
    for held, counters in (
        (replace(EMPTY, transport=frozenset({(four, 3478), (six, 3478)})), ("to_vpn_server4", "to_vpn_server6")),
        (replace(EMPTY, vpn=frozenset({LINK})), ("into_vpn", "into_vpn")),
        (replace(EMPTY, lan=frozenset({(ip_network("203.0.113.0/24"), LINK),
                                       (ip_network("2001:db8::/32"), LINK)})),
         ("permitted_lan4", "permitted_lan6")),
    ):  # fmt: skip
        table.load(held, MASK)
        for server, counter in zip((SERVER4, SERVER6), counters, strict=True):
            before = loaded().counters[counter]
            assert way.passes(server)
            assert loaded().counters[counter] == before + 1
    for held in (
        replace(EMPTY, transport=frozenset({(four, 3479), (six, 3479)})),
        replace(EMPTY, vpn=frozenset({"stw", "stw1"})),
        replace(
            EMPTY, lan=frozenset({(ip_network("203.0.113.0/24"), "stw1"), (ip_network("fd00::/8"), LINK)})
        ),
    ):
        table.load(held, MASK)
        assert not way.passes(SERVER4)
        assert not way.passes(SERVER6)


@pytest.fixture
def unit() -> Iterator[str]:
    """A cgroup, by its path; the hierarchy is mounted in the tests' own mounts."""
    subprocess.run(["mount", "-t", "cgroup2", "none", str(HIERARCHY)], check=True)
    path = f"stunwall-{os.getpid()}/a\\x2db@1:2.scope"
    (HIERARCHY / path).mkdir(parents=True)
    yield path
    (HIERARCHY / path).rmdir()
    (HIERARCHY / path).parent.rmdir()
    subprocess.run(["umount", str(HIERARCHY)], check=True)


@pytest.mark.parametrize("mask", [MASK, 0x60000])
def test_an_exception_for_a_unit_is_for_its_programs_alone(way: Way, unit: str, mask: int) -> None:
    number = (HIERARCHY / unit).stat().st_ino
    allow = (Allow("a", port=1), Allow("b", port=3478, unit=unit))
    table.load(replace(EMPTY, allow=allow, cgroups={unit: (unit, number)}), mask)
    assert not way.passes()
    inside = os.fork()
    if inside == 0:
        try:
            (HIERARCHY / unit / "cgroup.procs").write_text("0")
            os._exit(10 + way.passes() + 2 * way.passes(port=3479) + 4 * way.passes(SERVER6))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1]) == 10 + 1 + 4
    assert loaded().counters["permitted_programs"]
    assert counted("allow 2")
    assert not way.passes()


ALLOWS = st.builds(
    Allow,
    why=st.just("w"),
    to=st.none() | st.ip_addresses(network=None).map(ip_network),
    port=st.none() | st.integers(1, 65535),
    protocol=st.none() | st.sampled_from(Transport),
    user=st.none() | st.integers(0, 2**32 - 2),
    interface=st.none() | st.from_regex(config._INTERFACE, fullmatch=True),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(ALLOWS, max_size=4),
    st.frozensets(st.from_regex(config._INTERFACE, fullmatch=True), max_size=4),
    st.frozensets(st.tuples(st.ip_addresses(), st.integers(1, 65535)), max_size=4),
)
def test_whatever_the_configuration_and_the_kernel_may_hold_is_a_rule(
    allow: list[Allow], names: frozenset[str], transport: frozenset[tuple[Any, int]]
) -> None:
    if state.read() is None:
        table.load(EMPTY, MASK)
    rules = tuple(rule for rule in allow if rule != Allow("w"))
    table.fill(replace(EMPTY, vpn=names, transport=transport, allow=rules), MASK, None)
    wall = loaded()
    assert wall.intact
    assert set(wall.sets["vpn"]) == names
    assert len(wall.sets["vpn_transport4"]) + len(wall.sets["vpn_transport6"]) == len(transport)
    assert sum(rule.chain == "allow_rules" for rule in wall.rules) == len(rules)


# The pause


def test_a_pause_lets_all_stun_pass_until_it_is_ended(way: Way) -> None:
    table.load(replace(EMPTY, families=frozenset({4, 6})), MASK)
    queue_rules.attach(QUEUE)
    assert not way.passes()
    table.pause(600, int(time.time()))
    assert way.passes()
    assert way.passes(SERVER6)
    assert 590 <= loaded().paused <= 600
    assert loaded().intact
    table.pause(30, int(time.time()))  # instead of the one before
    assert 20 <= loaded().paused <= 30
    table.pause(0, 0)
    table.pause(0, 0)
    assert not way.passes()
    assert loaded().paused == 0


def test_a_pause_ends_by_itself(way: Way) -> None:
    table.load(EMPTY, MASK)
    table.pause(1, int(time.time()))
    until(lambda: not way.passes())
    until(lambda: loaded().paused == 0)


@pytest.mark.parametrize("day", [-86400, 86400])
def test_a_pause_of_another_day_lets_nothing_pass(way: Way, day: int) -> None:
    """As if the clock had been set: its time by the clock is over, or yet to come."""
    table.load(EMPTY, MASK)
    table.pause(600, int(time.time()) + day)
    assert not way.passes()


def test_the_longest_pause_is_one_that_the_kernel_takes() -> None:
    table.load(EMPTY, MASK)
    table.pause(86400, int(time.time()))
    assert 86390 <= loaded().paused <= 86400


# The mark


@pytest.mark.parametrize("mask", [MASK, 0x30000000, 0x60, 0x80000002, 0xC0000000])
def test_the_marks_in_the_kernel_are_those_of_the_configuration(mask: int) -> None:
    allow = (Allow("w", port=1),)
    table.load(replace(FULL, allow=allow), mask)
    assert loaded().intact
    redirected, permitted = config.mark_bits(mask)
    assert redirected < permitted
    assert redirected | permitted == mask
    written = {int(value, 16) for value in re.findall(r"mark [^\n]*?(0x[0-9a-f]{8})", state.listing())}
    ours = {0, mask, mask | 1, redirected, permitted, ~mask & 0xFFFFFFFF, ~permitted & 0xFFFFFFFF}
    assert written <= ours
    assert {mask, redirected, permitted} <= written


# Rights, and what is missing


def test_without_rights_it_is_said_so_with_the_cure() -> None:
    table.load(EMPTY, MASK)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            state.read()
        except NftPermissionError as error:
            os.write(writer, f"{error.exit_code} {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, encoding="utf-8") as said:  # noqa: PTH123 - a descriptor
        assert said.read() == "4 only root may read or change the kernel's rules (CAP_NET_ADMIN): try sudo"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes nft a shell script."""

    def make(script: str) -> None:
        file = tmp_path / "nft"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


def test_a_machine_without_nft_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(nft, "SBIN", "/nowhere")
    with pytest.raises(NftError, match="install the package nftables"):
        state.read()


def test_an_nft_that_never_ends_is_given_up(
    monkeypatch: pytest.MonkeyPatch, fake: Callable[[str], None]
) -> None:
    fake("exec sleep 60")
    monkeypatch.setattr(nft, "_TIMEOUT", 0.2)
    with pytest.raises(NftError, match=r"did not finish within 0\.2 s"):
        state.read()


@pytest.mark.parametrize(
    ("missing", "words"),
    [("@ih", "matching the payload of TCP"), ("ct ", "CONFIG_NFT_CT"), ("limit rate", "nft_limit"),
     ("table", "CONFIG_NF_TABLES_INET")],
)  # fmt: skip
def test_a_kernel_that_lacks_a_piece_is_told_which_and_how_to_get_it(
    fake: Callable[[str], None], missing: str, words: str
) -> None:
    fake(f"if grep -q '{missing}'; then echo 'Error: hm' >&2; exit 1; fi")
    with pytest.raises(NftError, match="the kernel lacks") as caught:
        table.load(EMPTY, MASK)
    assert words in str(caught.value)
    assert "modprobe" in str(caught.value)


def test_a_failure_that_no_missing_piece_explains_is_told_in_nfts_words(fake: Callable[[str], None]) -> None:
    fake("if [ \"$1\" = -f ]; then echo 'Error: out of luck' >&2; exit 1; fi")
    with pytest.raises(NftError, match="out of luck"):
        table.load(EMPTY, MASK)


# Pure


def test_what_is_expected_is_each_rule_of_the_text_by_chain() -> None:
    text = """
    table x {
        chain a {
            type filter hook output priority 0;
            # accept comment "a remark"
            accept comment "one"
            tcp dport { 1,
            2 } drop comment "two"
        }
        chain b {
            drop comment "three"
        }
    }
    """
    assert ruleset.expected(text) == [("a", "one"), ("a", "two"), ("b", "three")]


def test_a_wall_with_nothing_in_it_is_not_whole() -> None:
    assert not Wall((), {}, {}, None).intact
    assert not Wall((Rule("postrouting", "", None, None),), {}, {}, None).intact
