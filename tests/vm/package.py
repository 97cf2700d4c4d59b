"""What stunwall is installed from: the Debian package of this checkout, by its own script, and install.sh's wheels.

Both are for one system, made in it, and kept until a file that they are made of changes.
"""

import hashlib
import shutil
import tomllib
from functools import partial
from pathlib import Path

from vm.image import Image, kept, run

ROOT = Path(__file__).parents[2]
NEXT = "9.9.9"
"""The version of the package that the tests upgrade to."""
COMPILED = "netfilterqueue"
"""What pip gets as a source, to be compiled for the system's Python."""
BUILD = ("cython", "setuptools", "wheel")
"""What compiles it."""
OFFLINE = f"wheel --quiet --no-deps --no-index --find-links . --wheel-dir . {COMPILED}"
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
    """A folder with all that pip gets from the network for install.sh, compiled for the system's Python.

    RuntimeError as for package().
    """
    digest = hashlib.sha256(system.folder.name.encode() + (ROOT / "pyproject.toml").read_bytes())
    return kept("wheels", digest.hexdigest()[:16], partial(_get_wheels, system), build)


def _get_wheels(system: Image, work: Path) -> Path:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*asked["project"]["dependencies"], *asked["build-system"]["requires"], *BUILD]
    compiled = [each for each in needed if each.startswith(COMPILED)]
    version = system.run(work, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    run("/usr/bin/python3", "-m", "venv", f"{work}/venv")
    get = (f"{work}/venv/bin/pip", "download", "--quiet", "--dest", f"{work}/wheels")
    others = [each for each in needed if each not in compiled]
    run(*get, "--python-version", version, "--only-binary=:all:", *others)
    run(*get, "--no-deps", f"--no-binary={COMPILED}", *compiled)
    system.run(work, "sh", "-ec", f"python3 -m venv /tmp/venv; cd /mnt/wheels; /tmp/venv/bin/pip {OFFLINE}")
    for source in work.glob("wheels/*.tar.gz"):
        source.unlink()
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
