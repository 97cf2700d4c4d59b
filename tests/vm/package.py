"""What stunwall is installed from: the Debian package of this checkout, by its own script, and install.sh's wheels.

Both are for one system, made in it, and kept until a file that they are made of changes.
"""

import hashlib
import re
import shutil
from functools import partial
from pathlib import Path

from vm.image import Image, kept, run

ROOT = Path(__file__).parents[2]
NEXT = "9.9.9"
"""The version of the package that the tests upgrade to."""
COMPILED = "netfilterqueue"
"""What pip gets as a source, to be compiled for the system's Python."""
OFFLINE = f"wheel --quiet --no-deps --no-index --find-links . --wheel-dir compiled {COMPILED}"
PINS = ("requirements.txt", "build-requirements.txt")
CONTENTS = (
    "agent",
    "rules",
    "systemd",
    "pyproject.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
)


def package(system: Image, version: str = "", build: bool = False) -> Path:
    """The .deb for a system, with the checkout's own version unless one is given.

    RuntimeError if it has not been built, unless it shall be: that takes a network.
    """
    make = partial(_build, system, version, build)
    (file,) = kept("deb", _key(system, version), make, build).glob("*.deb")
    return file


def wheels(system: Image, build: bool = False) -> Path:
    """A folder with all that pip gets from the network for install.sh; in `compiled/`, what that has compiled.

    RuntimeError as for package().
    """
    digest = hashlib.sha256(system.folder.name.encode())
    for name in PINS:
        digest.update((ROOT / "systemd/python" / name).read_bytes())
    return kept("wheels", digest.hexdigest()[:16], partial(_get_wheels, system), build)


def spare_the_compiler(checkout: Path) -> None:
    """Have install.sh take what is compiled already, which takes a minute of emulation: by its own hash."""
    for source in checkout.glob("wheels/*.tar.gz"):
        source.unlink()
    (wheel,) = checkout.glob("wheels/compiled/*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wheel.rename(checkout / "wheels" / wheel.name)
    pins = checkout / "systemd/python/requirements.txt"
    pin, hashes = f"\n{COMPILED}==", " \\\n    --hash="
    before, after = pins.read_text().split(pin)
    pins.write_text(before + pin + after.replace(hashes, f"{hashes}sha256:{digest}{hashes}", 1))


def _get_wheels(system: Image, work: Path) -> Path:
    version = system.run(work, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    pins = re.split(r"\n(?=\S)", "\n".join((ROOT / "systemd/python" / name).read_text() for name in PINS))
    (work / "source.txt").write_text("\n".join(pin for pin in pins if pin.startswith(COMPILED)))
    (work / "others.txt").write_text("\n".join(pin for pin in pins if not pin.startswith(COMPILED)))
    run("/usr/bin/python3", "-m", "venv", f"{work}/venv")
    get = (f"{work}/venv/bin/pip", "download", "--quiet", "--no-deps", "--require-hashes")
    to = ("--dest", f"{work}/wheels", "-r")
    run(*get, "--python-version", version, "--only-binary=:all:", *to, f"{work}/others.txt")
    run(*get, f"--no-binary={COMPILED}", *to, f"{work}/source.txt")
    system.run(work, "sh", "-ec", f"python3 -m venv /tmp/venv; cd /mnt/wheels; /tmp/venv/bin/pip {OFFLINE}")
    return work / "wheels"


def _build(system: Image, version: str, build: bool, work: Path) -> Path:
    for name in CONTENTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, work / name)
    shutil.copytree(wheels(system, build), work / "wheels")
    options = ["--version", version] if version else []
    # lintian accepts neither root nor a host without a domain as the maintainer.
    named = ("DEBFULLNAME=tests", "DEBEMAIL=tests@packages.test")
    offline = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/mnt/wheels")
    system.run(work, "env", *named, *offline, "/mnt/systemd/deb/build.sh", *options, "/mnt/deb")
    return work / "deb"


def _key(system: Image, version: str) -> str:
    digest = hashlib.sha256(system.folder.name.encode() + version.encode())
    for name in CONTENTS:
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(
                    f"{file.relative_to(ROOT)}\0{file.stat().st_mode:o}\0".encode() + file.read_bytes()
                )
    return digest.hexdigest()[:16]
