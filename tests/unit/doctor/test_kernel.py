"""doctor/kernel.py: the kernel features that the wall needs."""

from typing import Any

import pytest

from stunwall.wall.nft import NftError, NftPermissionError
from unit.fake_machine import NOTE, OK, PROBLEM, UNKNOWN, WARNING, FakeMachine, wall


def test_a_missing_kernel_feature_is_a_problem(fake: FakeMachine) -> None:
    fake.missing = "the kernel lacks something. Load it"
    assert fake.one("kernel", PROBLEM).what == fake.missing


def test_a_kernel_without_a_queue_statement_in_nftables_is_fine_and_gets_a_note(fake: FakeMachine) -> None:
    fake.queues = False
    found = fake.find("kernel")
    assert found.keys() == {OK, NOTE}
    assert "NFQUEUE is used instead" in found[NOTE][0].what


@pytest.mark.parametrize("loaded", [None, wall(queue=None)], ids=["no wall", "no queue rule"])
def test_the_xtables_target_is_not_said_to_work_before_stunwalld_has_used_it(
    fake: FakeMachine, loaded: Any
) -> None:
    fake.queues, fake.wall = False, loaded
    found = fake.find("kernel")
    assert found.keys() == {OK, WARNING}
    assert "only known once stunwalld has started" in found[WARNING][0].why


def test_a_queue_statement_that_is_missing_since_the_modules_are_gone_comes_back_with_a_reboot(
    fake: FakeMachine,
) -> None:
    fake.queues, fake.wall, fake.modules_gone = False, wall(queue=None), "reboot, since they are gone"
    found = fake.find("kernel")
    assert found.keys() == {OK, PROBLEM}
    assert found[PROBLEM][0].next == "reboot, since they are gone"


def test_a_missing_program_nft_is_told_with_its_package_although_the_library_is_there(
    fake: FakeMachine,
) -> None:
    del fake.printed["nft --version"]
    found = fake.one("kernel", PROBLEM)
    assert found.what == "cannot run nft: No such file or directory"
    assert found.next == "install the package nftables"


@pytest.mark.parametrize("said", [None, "the kernel lacks nftables. Try modprobe"])
def test_nft_that_cannot_be_run_is_a_problem(fake: FakeMachine, said: str | None) -> None:
    fake.wall, fake.missing = NftError("the program nft is missing: install the package nftables"), said
    del fake.printed["nft --version"]
    assert (said or "install the package nftables") in fake.one("kernel", PROBLEM).what


def test_without_permission_to_read_the_rules_nothing_is_said_about_the_kernel(fake: FakeMachine) -> None:
    fake.wall = NftPermissionError("try with sudo")
    assert fake.one("kernel", UNKNOWN).what == "could not be checked: try with sudo"
