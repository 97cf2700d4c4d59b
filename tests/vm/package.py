"""The Debian package of this checkout, built by its own script and kept until a file of it changes."""

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from vm.image import cache

ROOT = Path(__file__).parents[2]
NEXT = "9.9.9"
"""The version of the package that the tests upgrade to."""
CONTENTS = ("agent", "rules", "systemd", "pyproject.toml", "README.md", "SECURITY.md", "CHANGELOG.md")


def package(version: str = "", build: bool = False) -> Path:
    """The .deb, with the checkout's own version unless one is given.

    RuntimeError if it has not been built, unless it shall be: that takes a network.
    """
    folder = cache() / f"deb-{_key(version)}"
    if not build and not folder.exists():
        raise RuntimeError(f"no {folder}: it is built by `./tests/run.sh vm` (tests/vm/prepare.py)")
    with cache().joinpath(f"lock-deb{version}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache(), prefix="new-deb.") as new:
                _build(version, Path(new, "deb"))
                Path(new, "deb").rename(folder)
    (file,) = folder.glob("*.deb")
    return file


def _build(version: str, result: Path) -> None:
    options = ["--version", version] if version else []
    script = [str(ROOT / "systemd/deb/build.sh"), *options, str(result)]
    done = subprocess.run(script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(script)} ended with {done.returncode}:\n{done.stdout[-4000:]}")


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


def sweep(keep: list[Path]) -> None:
    """Removes the packages of older states of the checkout."""
    for folder in cache().glob("deb-*"):
        if folder not in [file.parent for file in keep]:
            shutil.rmtree(folder)
