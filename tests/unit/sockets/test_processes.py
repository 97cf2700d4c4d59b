"""processes.py: real processes and cgroups, and answers that no kernel sends."""

import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.sleeping import sleeping
from stunwall.netlink import attribute
from stunwall.sockets import processes
from stunwall.sockets.processes import Process, Processes
from unit.wall_kernel import HIERARCHY


@pytest.fixture
def running() -> Iterator[Processes]:
    with closing(Processes()) as one:
        yield one


@pytest.fixture
def cgroup(lab: None) -> Iterator[Path]:
    """A cgroup, in a hierarchy that is mounted in the tests' own mounts."""
    subprocess.run(["mount", "-t", "cgroup2", "none", str(HIERARCHY)], check=True)
    folder = HIERARCHY / f"stunwall-{uuid4().hex}" / "app-x.scope"
    folder.mkdir(parents=True)
    yield folder
    folder.rmdir()
    folder.parent.rmdir()
    subprocess.run(["umount", str(HIERARCHY)], check=True)


@pytest.fixture
def program(cgroup: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program with a long name, in the cgroup."""
    # Its folder is closed to other users.
    with sleeping(tmp_path / "a-program-of-a-long-name") as started:
        (cgroup / "cgroup.procs").write_text(str(started.pid))
        yield started


def test_the_processes_of_a_cgroup_are_told_by_name_and_user(
    running: Processes, cgroup: Path, program: subprocess.Popen[bytes]
) -> None:
    assert list(running.of(cgroup.stat().st_ino)) == [Process("a-program-of-a-", os.getuid(), program.pid)]


def test_a_cgroup_that_came_later_is_found_and_one_that_is_gone_is_not(
    running: Processes, cgroup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_REST", 0)  # before the first walk, too: it may take long
    assert running.path(cgroup.stat().st_ino) == str(cgroup.relative_to(HIERARCHY))
    assert list(running.of(cgroup.stat().st_ino)) == []
    later = cgroup.with_name("later.scope")
    later.mkdir()
    number = later.stat().st_ino
    with sleeping(tmp_path / "later") as one:
        (later / "cgroup.procs").write_text(str(one.pid))
        assert [each.name for each in running.of(number)] == ["later"]
    later.rmdir()
    assert list(running.of(number)) == []
    assert running.path(number) == ""


def test_unknown_cgroups_do_not_keep_it_busy(
    running: Processes, cgroup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[Path] = []

    def walk(hierarchy: Path) -> dict[int, Path]:
        walks.append(hierarchy)
        time.sleep(0.01)
        return {}

    monkeypatch.setattr(processes, "_folders", walk)
    monkeypatch.setattr(processes, "_REST", 10**6)
    for number in range(20):
        assert running.path(number) == ""
    assert walks == [HIERARCHY]


def test_too_many_processes_are_not_asked(
    running: Processes, cgroup: Path, program: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PROCESSES", 0)
    assert list(running.of(cgroup.stat().st_ino)) == []


def test_without_cgroups_all_processes_are_meant(
    running: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "_HIERARCHIES", (tmp_path,))
    with sleeping(tmp_path / "one-of-all") as one:
        assert Process("one-of-all", os.getuid(), one.pid) in running.of(7)


def answer(name: bytes = b"firefox-esr", version: int = 16, size: int = 560) -> bytes:
    """As Linux 6.18 answers: struct taskstats, in the attribute for the process, after its number."""
    statistics = bytearray(size)
    struct.pack_into("=H", statistics, 0, version)
    struct.pack_into("=32s", statistics, 80, name)
    struct.pack_into("=I", statistics, 120, 1000)
    aggregate = attribute(1, struct.pack("=I", 4711)) + attribute(3, bytes(statistics))
    return b"\x02\x01\0\0" + attribute(4, aggregate)


def test_an_answer_is_read() -> None:
    assert processes.parse(answer(), 7) == Process("firefox-esr", 1000, 7)
    assert processes.parse(answer(b"\xff\xfe" + b"x" * 30), 7) == Process("\ufffd\ufffd" + "x" * 30, 1000, 7)


def test_a_version_that_has_the_name_elsewhere_tells_nothing() -> None:
    assert processes.parse(answer(version=15), 7) is None


@pytest.mark.parametrize("cut", range(4 + 8 + 8 + 124))
def test_a_cut_answer_tells_nothing(cut: int) -> None:
    assert processes.parse(answer()[:cut], 7) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    processes.parse(data, 7)
