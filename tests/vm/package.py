"""What stunwall is installed from: the Debian package of this checkout, by its own script, and install.sh's wheels.

Both are kept until a file that they are made of changes.
"""

import hashlib
import subprocess
import tomllib
from functools import partial
from pathlib import Path

from vm.image import kept

ROOT = Path(__file__).parents[2]
NEXT = "9.9.9"
"""The version of the package that the tests upgrade to."""
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


def package(version: str = "", build: bool = False) -> Path:
    """The .deb, with the checkout's own version unless one is given.

    RuntimeError if it has not been built, unless it shall be: that takes a network.
    """
    (file,) = kept("deb", _key(version), partial(_build, version), build).glob("*.deb")
    return file


def wheels(build: bool = False) -> Path:
    """A folder with all that pip gets from the network for install.sh, compiled for the system's Python.

    RuntimeError as for package().
    """
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + _python("-VV").encode())
    return kept("wheels", digest.hexdigest()[:16], _get_wheels, build)


def _get_wheels(work: Path) -> Path:
    _python("-m", "venv", f"{work}/venv")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    _run(f"{work}/venv/bin/pip", "wheel", "--quiet", "--wheel-dir", f"{work}/wheels", str(ROOT), *needed)
    for own in work.glob("wheels/stunwall-*"):
        own.unlink()  # pip shall build that one from the checkout
    return work / "wheels"


def _python(*arguments: str) -> str:
    return _run("/usr/bin/python3", *arguments)


def _build(version: str, work: Path) -> Path:
    options = ["--version", version] if version else []
    # lintian accepts neither root nor a host without a domain as the maintainer.
    _run(
        "env",
        "DEBFULLNAME=tests",
        "DEBEMAIL=tests@packages.test",
        f"{ROOT}/systemd/deb/build.sh",
        *options,
        f"{work}/deb",
    )
    return work / "deb"


def _run(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def _key(version: str) -> str:
    digest = hashlib.sha256(version.encode())
    for name in CONTENTS:
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(
                    f"{file.relative_to(ROOT)}\0{file.stat().st_mode:o}\0".encode() + file.read_bytes()
                )
    return digest.hexdigest()[:16]
