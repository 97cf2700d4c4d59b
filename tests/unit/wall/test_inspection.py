"""inspection.py: what a process that is not the daemon finds out about the table."""

from dataclasses import replace

import pytest

from stunwall.config import Allow, Config
from stunwall.wall import inspection, queue_rules, ruleset, table
from stunwall.wall.nft import Nft, NftError
from unit.wall_kernel import EMPTY, FULL, HIERARCHY, MASK, QUEUE, damage, run_nft

pytestmark = pytest.mark.usefixtures("clear")

TABLE = ("inet", "stunwall")


def change(text: str) -> None:
    run_nft("-f", "-", text=text)


def test_without_a_table_there_is_nothing_to_inspect() -> None:
    assert inspection.inspect(Config()) is None


def test_as_at_boot_the_file_alone_is_intact_whatever_the_configuration() -> None:
    change(ruleset.text())
    assert damage() == ()
    assert damage(FULL) == ()


def test_as_the_daemon_leaves_it_it_is_intact(nft: Nft) -> None:
    table.load(nft, FULL, MASK)
    assert damage(FULL) == ()
    queue_rules.attach(nft, QUEUE)
    assert damage(FULL) == ()
    change(ruleset.text())  # the unit of the wall is restarted
    assert damage(FULL) == ()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('add element inet stunwall vpn { "eth0" }', "the elements of its sets"),
        ("flush set inet stunwall vpn", "the elements of its sets"),
        ("flush set inet stunwall checksum", "the elements of its sets"),
        ('add element inet stunwall vpn_address4 { "eth0" : 10.0.0.9 }', "the elements of its sets"),
        ("add element inet stunwall guard_ports { 80 }", "set guard_ports"),
        ("flush set inet stunwall guard_ports", "set guard_ports"),
        ("add rule inet stunwall allow_rules accept", "chain allow_rules (has: accept)"),
        ("insert rule inet stunwall to_stunwalld accept", "chain to_stunwalld (has: accept)"),
        ("flush set inet stunwall loaded", "set loaded (lacks: 0x00000001)"),
        ("add table inet stunwall { flags dormant; }", "the table (flags dormant)"),
    ],
)
def test_what_another_program_changed_is_told(nft: Nft, text: str, what: str) -> None:
    table.load(nft, FULL, MASK)
    queue_rules.attach(nft, QUEUE)
    change(text)
    assert damage(FULL) == (what,)


def test_elements_that_are_there_at_boot_are_told() -> None:
    change(ruleset.text() + 'add element inet stunwall vpn { "eth0" }\n')
    assert damage() == ("the elements of its sets",)


def test_fewer_exceptions_let_nothing_out_but_others_do(nft: Nft) -> None:
    both = replace(EMPTY, allow=(Allow("a", port=1), Allow("b", port=2)))
    table.load(nft, replace(EMPTY, allow=both.allow[:1]), MASK)
    assert damage(both) == ()
    table.load(nft, both, MASK)
    assert damage(replace(EMPTY, allow=both.allow[:1]))[0].startswith("chain allow_rules (has: ")


def test_an_exception_by_program_is_known_by_its_living_cgroup(nft: Nft, unit: str) -> None:
    rule, other = Allow("a", unit=unit), Allow("b", unit=unit.rpartition("/")[0])
    cgroups = {
        each: (((each.unit or ""), (HIERARCHY / (each.unit or "")).stat().st_ino),) for each in (rule, other)
    }
    settings = replace(EMPTY, allow=(rule,), cgroups=cgroups)
    table.load(nft, settings, MASK)
    assert damage(settings) == ()
    (HIERARCHY / unit).rmdir()
    assert damage(settings) == (), "what has ended lets nothing out"
    (HIERARCHY / unit).mkdir()
    assert damage(settings) == ()
    table.load(nft, replace(settings, allow=(other,)), MASK)
    (what,) = damage(settings)
    assert what.startswith("chain allow_programs (has: socket cgroupv2 level 1 ")


def test_other_mark_bits_are_told(nft: Nft) -> None:
    table.load(nft, EMPTY, 0x60)
    assert damage(EMPTY, 0x60) == ()
    assert damage()


def test_without_a_namespace_the_comments_are_compared_and_it_says_so(
    nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: Config) -> str:
        raise NftError("not permitted")

    monkeypatch.setattr(inspection, "_made_anew", refuse)
    table.load(nft, EMPTY, MASK)
    found = inspection.inspect(Config())
    assert found is not None
    assert (found.complete, found.differences) == (False, ())
    run_nft("flush", "chain", *TABLE, "hand_over")
    change("add element inet stunwall classic_lengths { 9 . 9 }")
    found = inspection.inspect(Config())
    assert found is not None
    assert found.differences == ("chain hand_over", "set classic_lengths")
