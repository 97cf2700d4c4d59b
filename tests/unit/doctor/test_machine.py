"""doctor/machine.py: what programs print."""

from pathlib import Path

import pytest

from stunwall.doctor.machine import Machine


def test_programs_are_found_where_the_path_has_only_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "nftables" in Machine.output("nft", "--version")


def test_what_a_program_prints_counts_whatever_its_exit_code(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho disabled\nexit 1\n")
    program.chmod(0o755)
    assert Machine.output(str(program)) == "disabled\n"
    with pytest.raises(OSError):
        Machine.output(str(tmp_path / "missing"))
