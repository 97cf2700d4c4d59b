"""units.py: real inotify on a folder in place of the cgroup hierarchy."""

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from stunwall.wall import units
from stunwall.wall.units import UnitWatch

DEEP = "user.slice/user-1000.slice/user@1000.service/app.slice/app.scope"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(units, "ROOT", tmp_path)
    (tmp_path / "system.slice").mkdir()
    return tmp_path


@pytest.fixture
def watch(root: Path) -> Iterator[UnitWatch]:
    one = UnitWatch()
    yield one
    one.close()


def told(watch: UnitWatch) -> bool:
    """Whether something changed since the last call."""
    readable = bool(select.select([watch], [], [], 0)[0])
    watch.drain()
    return readable


@pytest.mark.parametrize(
    ("unit", "path"),
    [
        ("tailscaled.service", "system.slice/tailscaled.service"),
        ("a\\x2db@c:d.service", "system.slice/a\\x2db@c:d.service"),
        ("user.slice", "user.slice"),
        ("system.slice/x.scope", "system.slice/x.scope"),
        (DEEP, DEEP),
    ],
)
def test_a_unit_is_a_name_among_the_systems_services_or_a_path(
    root: Path, watch: UnitWatch, unit: str, path: str
) -> None:
    assert watch.find([unit]).keys() == set()
    (root / path).mkdir(parents=True)
    (found,) = watch.find([unit, unit]).items()
    assert found == (unit, (path, (root / path).stat().st_ino))


def test_it_is_readable_when_a_unit_starts_or_ends_and_not_before(root: Path, watch: UnitWatch) -> None:
    unit = root / "system.slice" / "a.service"
    watch.find(["a.service"])
    assert not told(watch)
    unit.mkdir()
    assert told(watch)
    assert "a.service" in watch.find(["a.service"])
    assert not told(watch)
    unit.rmdir()
    assert told(watch)
    assert "a.service" not in watch.find(["a.service"])


def test_a_unit_whose_slice_is_yet_to_come_is_noticed_at_every_step_of_the_way(
    root: Path, watch: UnitWatch
) -> None:
    assert watch.find([DEEP]).keys() == set()
    for folder in reversed((root / DEEP).relative_to(root).parents):
        if folder != Path():
            (root / folder).mkdir()
            assert told(watch), folder
            assert watch.find([DEEP]).keys() == set()
    (root / DEEP).mkdir()
    assert told(watch)
    assert DEEP in watch.find([DEEP])


def test_a_whole_tree_that_comes_at_once_is_noticed(root: Path, watch: UnitWatch) -> None:
    watch.find([DEEP])
    (root / DEEP).mkdir(parents=True)
    assert told(watch)
    assert DEEP in watch.find([DEEP])


def test_a_slice_that_goes_and_comes_is_followed(root: Path, watch: UnitWatch) -> None:
    unit = "x.slice/a.scope"
    for _ in range(3):
        (root / "x.slice").mkdir()
        (root / unit).mkdir()
        assert unit in watch.find([unit])
        told(watch)
        (root / unit).rmdir()
        (root / "x.slice").rmdir()
        assert told(watch)
        assert watch.find([unit]).keys() == set()


def test_a_unit_that_was_restarted_is_not_taken_for_the_one_before(root: Path, watch: UnitWatch) -> None:
    # The kernel's rule holds the number of a cgroup, not its name (net/netfilter/nft_socket.c).
    unit = root / "system.slice" / "a.service"
    unit.mkdir()
    before = watch.find(["a.service"])
    kept = unit.rename(root / "kept")  # so that its number is not given again
    unit.mkdir()
    assert watch.find(["a.service"]) != before
    kept.rmdir()


def test_what_is_no_folder_is_no_unit(root: Path, watch: UnitWatch) -> None:
    (root / "system.slice" / "a.service").touch()
    assert watch.find(["a.service", "a.service/b"]).keys() == set()


def test_nothing_outside_the_hierarchy_is_watched(root: Path, watch: UnitWatch) -> None:
    watch.find(["a.service", DEEP])
    (root.parent / "beside").mkdir()
    assert not told(watch)


def test_without_a_hierarchy_nothing_is_found_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "ROOT", tmp_path / "none")
    one = UnitWatch()
    assert one.find(["a.service", DEEP]).keys() == set()
    one.drain()
    one.close()


def test_many_changes_are_drained_at_once(root: Path, watch: UnitWatch) -> None:
    watch.find(["a.service"])
    for number in range(5000):
        (root / "system.slice" / f"{number}.service").mkdir()
    assert told(watch)
    assert not told(watch)
