"""One lab with one machine in it, and two boots that all tests share: without stunwall and with it."""

import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from lab.namespace import require_isolation
from vm.apparmor import assert_nothing_denied
from vm.boots import Boots
from vm.diagnosis import describe
from vm.image import RELEASES, Image, cache, image
from vm.machine import Machine, layer
from vm.outside import MachineLab
from vm.package import CONTENTS, NEXT, ROOT, package, spare_the_compiler, wheels

try:
    require_isolation()
except RuntimeError as error:
    pytest.exit(str(error), returncode=4)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kernel",
        choices=RELEASES,
        help="the machine's Linux and so its Debian, if not each of them in turn",
    )
    # Each takes seconds of emulation.
    parser.addoption("--kills", type=int, default=10, help="how often the daemon is killed in one test")
    parser.addoption("--deb", type=Path, help="stunwall's package, if not of the checkout as it is now")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "any_kernel: for what no kernel makes different; unless one is asked for, with the last only",
    )
    config.addinivalue_line("markers", "older: as any_kernel, with the first only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernel" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--kernel")
        kernels = [asked] if asked else list(RELEASES)
        if metafunc.definition.get_closest_marker("any_kernel"):
            kernels = kernels[-1:]
        if metafunc.definition.get_closest_marker("older"):
            kernels = kernels[:1]
        metafunc.parametrize("kernel", kernels, scope="session")


@pytest.fixture(scope="session")
def lab() -> Iterator[MachineLab]:
    with MachineLab() as lab:
        yield lab


@pytest.fixture(scope="session")
def built(kernel: str) -> Image:
    return image(kernel)


@pytest.fixture(scope="session")
def deb(request: pytest.FixtureRequest, built: Image) -> Path:
    """stunwall's package for that system."""
    return Path(request.config.getoption("--deb") or package(built))


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """For disks and memory: large, and of no use afterwards; what a run that is killed leaves, a later one removes."""
    with tempfile.TemporaryDirectory(prefix="run-", dir=cache()) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def checkout(built: Image, kernel: str, deb: Path, folder: Path) -> Path:
    """A disk for /run/checkout: the checkout, two versions of the package, the wheels that install.sh needs."""
    files, disk = folder / f"checkout-{kernel}", folder / f"checkout-{kernel}.ext4"
    for part in (*CONTENTS, "tests/lab", "tests/vm"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, files / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, files / part)
    shutil.copytree(wheels(built), files / "wheels")
    spare_the_compiler(files)
    shutil.copy(deb, files / "stunwall.deb")
    shutil.copy(package(built, NEXT), files / "next.deb")
    subprocess.run(["truncate", "-s", "128M", str(disk)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-d", str(files), str(disk)], check=True)
    return disk


@pytest.fixture(scope="session")
def boots(lab: MachineLab, built: Image, deb: Path, checkout: Path, folder: Path) -> Iterator[Boots]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield _boot_twice(lab, built, deb, checkout, Path(name))


def _boot_twice(lab: MachineLab, built: Image, deb: Path, checkout: Path, folder: Path) -> Boots:
    def start(installed: bool) -> Machine:
        below = built.with_package(deb) if installed else built.disk
        disk = layer(below, folder / f"installed-{installed}.qcow2")
        return Machine(lab.isp, built, disk, checkout, options="early_stun")

    return Boots.observe(lab, start, folder / "memory")


@pytest.fixture
def machine(lab: MachineLab, built: Image, checkout: Path, boots: Boots, tmp_path: Path) -> Iterator[Machine]:
    """A machine with stunwall installed and running, as it was right after its second boot.

    At the end, AppArmor has denied the daemon nothing.
    """
    disk = layer(boots.snapshot.disk, tmp_path / "disk.qcow2")
    with Machine(lab.isp, built, disk, checkout, snapshot=boots.snapshot) as machine:
        lab.machine = machine
        yield machine
        assert_nothing_denied(machine)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and isinstance(lab, MachineLab) and hasattr(lab, "machine"):
        # After the "call" phase the machine still runs: fixtures are torn down later.
        report.sections.extend(describe(lab.machine))
    return report
