"""doctor/kernel.py: the pieces of the kernel that the wall needs."""

from typing import Any

import pytest

from stunwall.wall.nft import NftError, NftPermissionError
from unit.fake_machine import NOTE, OK, PROBLEM, UNKNOWN, WARNING, FakeMachine, wall


def test_a_missing_kernel_piece_is_a_problem(fake: FakeMachine) -> None:
    fake.missing = "the kernel lacks something. Load it"
    assert fake.one("kernel", PROBLEM).what == fake.missing


def test_a_kernel_without_queue_in_nftables_is_fine_with_a_note(fake: FakeMachine) -> None:
    fake.queues = False
    found = fake.find("kernel")
    assert found.keys() == {OK, NOTE}
    assert "NFQUEUE takes its place" in found[NOTE][0].what


@pytest.mark.parametrize("stands", [None, wall(queue=None)], ids=["no wall", "door shut"])
def test_that_the_other_way_to_queue_works_is_not_claimed_before_it_was_used(
    fake: FakeMachine, stands: Any
) -> None:
    fake.queues, fake.wall = False, stands
    found = fake.find("kernel")
    assert found.keys() == {OK, WARNING}
    assert "seen when stunwalld starts" in found[WARNING][0].why


@pytest.mark.parametrize("said", [None, "the kernel lacks nftables. Try modprobe"])
def test_what_keeps_nft_from_answering_is_a_problem_and_not_a_matter_of_rights(
    fake: FakeMachine, said: str | None
) -> None:
    fake.wall, fake.missing = NftError("the program nft is missing: install the package nftables"), said
    del fake.printed["nft --version"]
    assert (said or "install the package nftables") in fake.one("kernel", PROBLEM).what


def test_too_few_rights_for_the_kernels_rules_are_no_judgement_on_the_kernel(fake: FakeMachine) -> None:
    fake.wall = NftPermissionError("try with sudo")
    assert fake.one("kernel", UNKNOWN).what == "could not be checked: try with sudo"
