"""wall/modules.py: how to load a module, which after an upgrade of the kernel is to reboot."""

import os
from pathlib import Path

import pytest

from stunwall.wall import modules


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the modules of the running kernel are, on a machine whose kernel has modules."""
    (tmp_path / "loaded").touch()
    monkeypatch.setattr(modules, "_LOADED", tmp_path / "loaded")
    monkeypatch.setattr(modules, "_FOLDER", tmp_path / "modules")
    folder = tmp_path / "modules" / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.dep").touch()
    return folder


def test_a_module_that_is_there_can_be_loaded(folder: Path) -> None:
    assert modules.gone() == ""
    assert modules.how_to_load("nft_queue").startswith("try `modprobe nft_queue`, or")


@pytest.mark.parametrize("left", ["folder of others", "folder with what others put there", "nothing"])
def test_modules_that_an_upgrade_removed_come_back_with_a_reboot(folder: Path, left: str) -> None:
    (folder / "modules.dep").unlink()
    match left:
        case "folder of others":
            folder.rename(folder.parent / "other")
        case "nothing":
            folder.rmdir()
            folder.parent.rmdir()
    said = modules.how_to_load("nft_queue")
    assert said == modules.gone()
    assert said.startswith("reboot, ")
    assert f"kernel {os.uname().release} " in said
    assert "modprobe" not in said


def test_a_daemon_from_which_its_unit_hides_them_cannot_tell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def hidden(path: Path, **options: bool) -> os.stat_result:
        if path.is_relative_to(folder):
            raise PermissionError(path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", hidden)
    said = modules.how_to_load("nft_queue")
    assert "reboot; otherwise `sudo stunwall doctor`" in said
    assert "modprobe" not in said


def test_a_kernel_without_modules_has_lost_none(folder: Path) -> None:
    (folder / "modules.dep").unlink()
    modules._LOADED.unlink()
    assert modules.gone() == ""
