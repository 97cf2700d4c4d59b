"""One lab with one machine in it, and two boots that all tests share: without stunwall and with it."""

import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from lab.namespace import require_isolation
from vm.boots import Boots
from vm.image import KERNELS, Image, image
from vm.machine import Machine, layer
from vm.outside import MachineLab
from vm.package import NEXT, package

try:
    require_isolation()
except RuntimeError as error:
    pytest.exit(str(error), returncode=4)

TESTS = Path(__file__).parents[1]
CONSOLE_LINES = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kernel", choices=sorted(KERNELS), default="6.1", help="the machine's Linux")
    parser.addoption("--deb", type=Path, help="stunwall's package, if not of the checkout as it is now")


@pytest.fixture(scope="session")
def kernel(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--kernel"))


@pytest.fixture(scope="session")
def lab() -> Iterator[MachineLab]:
    with MachineLab() as lab:
        yield lab


@pytest.fixture(scope="session")
def built() -> Image:
    return image()


@pytest.fixture(scope="session")
def deb(request: pytest.FixtureRequest) -> Path:
    """stunwall's package."""
    return Path(request.config.getoption("--deb") or package())


@pytest.fixture(scope="session")
def checkout(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with the tests' own files, stunwall's package and the one to upgrade to, at /run/checkout inside."""
    folder, disk = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("disk") / "checkout.ext4"
    for part in ("lab", "vm"):
        shutil.copytree(TESTS / part, folder / "tests" / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(deb, folder / "stunwall.deb")
    shutil.copy(package(NEXT), folder / "next.deb")
    subprocess.run(["truncate", "-s", "64M", str(disk)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-d", str(folder), str(disk)], check=True)
    return disk


@pytest.fixture(scope="session")
def boots(
    lab: MachineLab, built: Image, deb: Path, kernel: str, checkout: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Boots:  # fmt: skip
    folder = tmp_path_factory.mktemp("boots")

    def start(installed: bool) -> Machine:
        below = built.with_package(deb) if installed else built.disk
        disk = layer(below, folder / f"installed-{installed}.qcow2")
        return Machine(lab.isp, built, kernel, disk, checkout, options="early_stun")

    return Boots.observe(lab, start, folder / "memory")


@pytest.fixture
def machine(
    lab: MachineLab, built: Image, kernel: str, checkout: Path, boots: Boots, tmp_path: Path
) -> Iterator[Machine]:
    """A machine with stunwall installed and running, as it was right after its second boot."""
    disk = layer(boots.snapshot.disk, tmp_path / "disk.qcow2")
    with Machine(lab.isp, built, kernel, disk, checkout, snapshot=boots.snapshot) as machine:
        lab.machine = machine
        yield machine


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and isinstance(lab, MachineLab) and hasattr(lab, "machine"):
        lines = lab.machine.console.splitlines()[-CONSOLE_LINES:]
        report.sections.append(("the machine's console", "\n".join(lines)))
    return report
