"""units.py: real inotify on a folder in place of the cgroup hierarchy."""

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.deadline import until
from stunwall.config import Allow
from stunwall.wall import units
from stunwall.wall.contents import Cgroup
from stunwall.wall.units import UnitWatch

ALICE = 1000
MANAGER = f"user.slice/user-{ALICE}.slice/user@{ALICE}.service"
DEEP = f"{MANAGER}/app.slice/app.scope"
NEVER = 1e6  # seconds
A = Allow("w", unit="a.service")
DISCORD = Allow("w", user=ALICE, app="com.discordapp.Discord")
SCOPE = "app-flatpak-com.discordapp.Discord-{}.scope"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hierarchy, which is looked at without a pause."""
    monkeypatch.setattr(units, "ROOT", tmp_path)
    monkeypatch.setattr(units, "PAUSE", 1e-9)
    (tmp_path / "system.slice").mkdir()
    return tmp_path


@pytest.fixture
def watch(root: Path) -> Iterator[UnitWatch]:
    one = UnitWatch()
    yield one
    one.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were read."""
    found: list[str] = []
    right = os.scandir

    def scandir(folder: Path) -> "os._ScandirIterator[str]":
        found.append(str(folder))
        return right(str(folder))

    monkeypatch.setattr(os, "scandir", scandir)
    return found


def readable(watch: UnitWatch) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


def told(watch: UnitWatch) -> bool:
    """Whether something changed since the last call; after that, the pause is over."""
    changed = readable(watch)
    watch.drain()
    if changed:
        until(lambda: readable(watch), 10, "the pause to end")
        watch.drain()
    return changed


def path_of(watch: UnitWatch, rule: Allow) -> list[str]:
    return [path for path, _ in watch.find([rule])[rule]]


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        (Allow("w", unit="tailscaled.service"), "system.slice/tailscaled.service"),
        (Allow("w", unit="a\\x2db@c:d.service"), "system.slice/a\\x2db@c:d.service"),
        (
            Allow("w", unit="syncthing@alice.service"),
            "system.slice/system-syncthing.slice/syncthing@alice.service",
        ),
        (Allow("w", unit="a.service"), "own.slice/own-deeper.slice/a.service"),
        (Allow("w", unit="a.service"), "a.service"),
        (Allow("w", unit="user.slice"), "user.slice"),
        (Allow("w", unit="user-1000.slice"), "user.slice/user-1000.slice"),
        (Allow("w", unit="session-*.scope"), "user.slice/user-1000.slice/session-12.scope"),
        (Allow("w", unit="system.slice/x.scope"), "system.slice/x.scope"),
        (Allow("w", unit="docker/3b2f"), "docker/3b2f"),
        (Allow("w", unit=DEEP), DEEP),
        (Allow("w", unit=f"{MANAGER}/app.slice/app-*.scope"), f"{MANAGER}/app.slice/app-a-1.scope"),
        (Allow("w", unit="syncthing.service", user=ALICE), f"{MANAGER}/app.slice/syncthing.service"),
        (Allow("w", unit="app.slice", user=ALICE), f"{MANAGER}/app.slice"),
        (DISCORD, f"{MANAGER}/app.slice/{SCOPE.format(4069)}"),
        (DISCORD, f"{MANAGER}/app.slice/app-flatpak.slice/{SCOPE.format(4069)}"),
    ],
)
def test_a_unit_is_found_wherever_it_is(root: Path, watch: UnitWatch, rule: Allow, path: str) -> None:
    assert watch.find([rule]) == {rule: ()}
    (root / path).mkdir(parents=True)
    assert told(watch)
    assert watch.find([rule, rule]) == {rule: ((path, (root / path).stat().st_ino),)}


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        (A, f"{MANAGER}/a.service"),
        (A, f"{MANAGER}/app.slice/a.service"),
        (A, "machine.slice/container.scope/system.slice/a.service"),
        (A, "system.slice/docker.service/a.service"),
        (A, "system.slice/a.service.d"),
        (Allow("w", unit="a.service", user=1001), f"{MANAGER}/app.slice/a.service"),
        (Allow("w", user=1001, app="com.discordapp.Discord"), f"{MANAGER}/app.slice/{SCOPE.format(1)}"),
        (DISCORD, f"system.slice/{SCOPE.format(1)}"),
        (DISCORD, f"{MANAGER}/own.scope/{SCOPE.format(1)}"),
        (DISCORD, f"{MANAGER}/app.slice/{SCOPE.format(chr(10))}"),
        (DISCORD, f"{MANAGER}/" + "a.slice/" * 14 + SCOPE.format(1)),
    ],
)
def test_nobody_claims_an_exception_of_somebody_else(
    root: Path, watch: UnitWatch, rule: Allow, path: str
) -> None:
    """A user can make any cgroup below the own manager, and so can a container below its own cgroup."""
    (root / path).mkdir(parents=True)
    assert watch.find([rule]) == {rule: ()}


def test_every_cgroup_of_an_application_is_found_up_to_a_limit(root: Path, watch: UnitWatch) -> None:
    for number in range(100):
        (root / MANAGER / "app.slice" / SCOPE.format(number)).mkdir(parents=True)
        expected = min(number + 1, 64)
        if number in (1, 63, 64, 99):
            told(watch)
            assert len(watch.find([DISCORD])[DISCORD]) == expected


def test_it_is_readable_when_a_unit_starts_or_ends_and_not_before(root: Path, watch: UnitWatch) -> None:
    unit = root / "system.slice" / "a.service"
    watch.find([A])
    assert not told(watch)
    unit.mkdir()
    assert told(watch)
    assert path_of(watch, A) == ["system.slice/a.service"]
    assert not told(watch)
    unit.rmdir()
    assert told(watch)
    assert path_of(watch, A) == []


@pytest.mark.parametrize("rule", [Allow("w", unit=DEEP), Allow("w", unit="app.scope", user=ALICE)])
def test_a_unit_whose_slice_is_yet_to_come_is_noticed_at_every_step_of_the_way(
    root: Path, watch: UnitWatch, rule: Allow
) -> None:
    assert path_of(watch, rule) == []
    for folder in reversed((root / DEEP).relative_to(root).parents):
        if folder != Path():
            (root / folder).mkdir()
            assert told(watch), folder
            assert path_of(watch, rule) == []
    (root / DEEP).mkdir()
    assert told(watch)
    assert path_of(watch, rule) == [DEEP]


def test_a_slice_that_goes_and_comes_is_followed(root: Path, watch: UnitWatch) -> None:
    rule = Allow("w", unit="x.slice/a.scope")
    for _ in range(3):
        (root / "x.slice").mkdir()
        (root / "x.slice/a.scope").mkdir()
        assert path_of(watch, rule) == ["x.slice/a.scope"] or told(watch)
        assert path_of(watch, rule) == ["x.slice/a.scope"]
        told(watch)
        (root / "x.slice/a.scope").rmdir()
        (root / "x.slice").rmdir()
        assert told(watch)
        assert path_of(watch, rule) == []


def test_a_unit_that_was_restarted_is_not_taken_for_the_one_before(root: Path, watch: UnitWatch) -> None:
    # The kernel's rule holds the number of a cgroup, not its name (net/netfilter/nft_socket.c).
    unit = root / "system.slice" / "a.service"
    unit.mkdir()
    before = watch.find([A])
    kept = unit.rename(root / "kept")  # so that its number is not given again
    unit.mkdir()
    assert told(watch)
    assert watch.find([A]) != before
    kept.rmdir()


def test_what_is_no_folder_is_no_unit(root: Path, watch: UnitWatch) -> None:
    (root / "system.slice" / "a.service").touch()
    (root / "system.slice" / "b.service").symlink_to("/")
    rules = [Allow("w", unit=unit) for unit in ("a.service", "b.service", "system.slice/a.service/b")]
    assert set(watch.find(rules).values()) == {()}


def test_nothing_outside_the_hierarchy_is_watched(root: Path, watch: UnitWatch) -> None:
    watch.find([A, Allow("w", unit=DEEP)])
    (root.parent / "beside").mkdir()
    assert not told(watch)


def test_without_a_hierarchy_nothing_is_found_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "ROOT", tmp_path / "none")
    one = UnitWatch()
    assert one.find([A, DISCORD]) == {A: (), DISCORD: ()}
    one.drain()
    one.close()


def test_what_no_exception_names_is_not_watched_any_more(root: Path, watch: UnitWatch) -> None:
    (root / MANAGER / "app.slice").mkdir(parents=True)
    watch.find([A, DISCORD])
    watch.find([A])
    told(watch)  # the kernel confirms that it does not watch any more
    (root / MANAGER / "app.slice" / "x.scope").mkdir()
    assert not told(watch)
    (root / "system.slice" / "x.service").mkdir()
    assert told(watch)


# A user who makes and removes cgroups as fast as they can


def churn(folder: Path, name: str, times: int = 1000) -> None:
    for _ in range(times):
        (folder / name).mkdir()
        (folder / name).rmdir()


@pytest.fixture
def own(root: Path) -> Path:
    """Where a user can make cgroups, with an exception that concerns them."""
    folder = root / MANAGER / "app.slice"
    folder.mkdir(parents=True)
    return folder


def test_what_no_exception_names_is_not_read(own: Path, watch: UnitWatch, reads: list[str]) -> None:
    watch.find([DISCORD, A])
    reads.clear()
    for _ in range(10):
        churn(own, "mine.scope", 100)
        assert told(watch)
        watch.find([DISCORD, A])
    assert reads == []
    churn(own, SCOPE.format(1), 1)
    assert told(watch)
    watch.find([DISCORD, A])
    assert reads.count(str(own)) == 1


@pytest.mark.parametrize("name", ["mine.scope", SCOPE.format(1), "mine.slice"])
def test_in_a_pause_nothing_is_read_however_much_changes(
    own: Path, watch: UnitWatch, reads: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(units, "PAUSE", NEVER)
    watch.find([DISCORD])
    reads.clear()
    turns = 0
    for _ in range(1000):
        churn(own, name, 1)
        if readable(watch):
            turns += 1
            watch.drain()
            watch.find([DISCORD])
    assert turns == 1
    assert reads.count(str(own)) == (name != "mine.scope")


def test_after_the_pause_it_is_as_it_should_be(own: Path, watch: UnitWatch) -> None:
    watch.find([DISCORD])
    (own / "mine.scope").mkdir()
    watch.drain()
    (own / SCOPE.format(1)).mkdir()
    until(lambda: readable(watch), 10, "the pause to end")
    watch.drain()
    assert len(watch.find([DISCORD])[DISCORD]) == 1
    until(lambda: readable(watch), 10, "the next pause to end")
    watch.drain()
    assert not readable(watch)


def test_more_notifications_than_the_kernel_keeps_lose_nothing(own: Path, watch: UnitWatch) -> None:
    watch.find([DISCORD])
    churn(own, "mine.scope", 10_000)  # fs.inotify.max_queued_events is 16,384
    (own / SCOPE.format(1)).mkdir()
    assert told(watch)
    assert len(watch.find([DISCORD])[DISCORD]) == 1
    assert not told(watch)


def test_what_is_read_of_a_users_cgroups_is_limited(
    own: Path, watch: UnitWatch, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "_FOLDERS_MAX", 10)
    monkeypatch.setattr(units, "_NAMES_MAX", 100)
    (own.parents[3] / "system.slice" / "a.service").mkdir()
    for number in range(50):
        (own / f"{number}.slice").mkdir()
        for name in range(10):
            (own / f"{number}.slice" / f"{name}.slice").mkdir()
    reads.clear()
    found: dict[Allow, tuple[Cgroup, ...]] = watch.find([DISCORD, A])
    assert sum(MANAGER in folder for folder in reads) == 10
    assert found[A], "the system's units are found all the same"


def test_users_are_known_by_their_slices(root: Path) -> None:
    assert units.users() == []
    for name in (
        "user-1000.slice",
        "user-0.slice",
        "user-x.slice",
        "session-1.scope",
        "user-" + "9" * 30 + ".slice",
    ):
        (root / "user.slice" / name).mkdir(parents=True)
    assert units.users() == [0, 1000]


def test_living_cgroups_are_found_by_their_numbers(root: Path) -> None:
    (root / DEEP).mkdir(parents=True)
    numbers = {(root / path).stat().st_ino for path in ("system.slice", DEEP)}
    gone = root / "gone"
    gone.mkdir()
    number = gone.stat().st_ino
    kept = gone.rename(root.parent / "kept")
    assert units.living({*numbers, number}) == numbers
    assert units.living([]) == set()
    kept.rmdir()
