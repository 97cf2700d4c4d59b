"""doctor/machine.py: running other programs."""

from pathlib import Path

import pytest

from stunwall.doctor import machine
from stunwall.doctor.machine import Machine, ProgramError


def test_system_programs_are_found_even_if_the_path_lacks_their_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "nftables" in Machine.output("nft", "--version")


def test_the_output_is_returned_whatever_the_exit_code(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho disabled\nexit 1\n")
    program.chmod(0o755)
    assert Machine.output(str(program)) == "disabled\n"


def test_a_program_that_cannot_be_run_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"^cannot run /.*/missing: No such file or directory$"):
        Machine.output(str(tmp_path / "missing"))


def test_a_program_that_hangs_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_TIMEOUT", 0.01)
    with pytest.raises(ProgramError, match=r"^sleep did not finish within "):
        Machine.output("sleep", "600")
