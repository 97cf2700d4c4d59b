"""systemd/python/: the versions that are installed, their hashes, and the bill of materials."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from unit.made_root import CHECKOUT

FOLDER = CHECKOUT / "systemd" / "python"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
ASKED = {
    "requirements.txt": PROJECT["project"]["dependencies"],
    "build-requirements.txt": [*PROJECT["build-system"]["requires"], "cython", "setuptools", "wheel"],
}


def pins(name: str) -> dict[str, str]:
    """The version of each package that the file names, and nothing else may be in it."""
    text = (FOLDER / name).read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    found = {}
    for line in lines:
        pin = re.fullmatch(r"([a-z0-9-]+)==([\w.]+)((?: ;[^;]*?)?)((?:\s+--hash=sha256:[0-9a-f]{64})+)", line)
        assert pin is not None, f"{name}: {line[:60]}"
        found[pin[1]] = pin[2]
    return found


@pytest.mark.parametrize("name", ASKED)
def test_each_version_is_one_that_the_project_asks_for_with_its_hashes(name: str) -> None:
    pinned = pins(name)
    for asked in map(Requirement, ASKED[name]):
        version = pinned.get(canonicalize_name(asked.name))
        assert version is not None, f"{asked.name} is not in {name}: run systemd/python/update.sh"
        assert asked.specifier.contains(version), f"{asked} is asked for: run systemd/python/update.sh"


# The name in Debian's copyright file of each license, by its name in the bill of materials.
LICENSES = {
    "BSD-2-Clause": "BSD-2-clause",
    "BSD-3-Clause": "BSD-3-clause",
    "GPL-2.0-only": "GPL-2",
    "GPL-2.0-or-later OR Apache-2.0": "GPL-2+",
    "ISC": "ISC",
    "License :: OSI Approved :: BSD License": "BSD-3-clause",  # Jinja2's
    "MIT": "Expat",
    "PSF-2.0": "PSF-2",
}


def test_the_bill_of_materials_lists_what_is_installed_with_licenses_that_the_packages_state() -> None:
    bom = json.loads((FOLDER / "sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    about = bom["metadata"]["component"]
    assert (about["name"], about["version"]) == ("stunwall", PROJECT["project"]["version"])
    listed = {canonicalize_name(part["name"]): part["version"] for part in bom["components"]}
    assert listed == pins("requirements.txt"), "run systemd/python/update.sh"
    stated = (CHECKOUT / "systemd/deb/copyright").read_text()
    for part in bom["components"]:
        for each in part["licenses"]:
            name = each.get("expression") or each["license"].get("id") or each["license"]["name"]
            assert f"\nLicense: {LICENSES[name]}\n" in stated, part["name"]


def test_nothing_in_the_bill_of_materials_changes_from_time_to_time_or_is_an_address() -> None:
    bom = json.loads((FOLDER / "sbom.cdx.json").read_text())
    assert bom.keys() == {
        "$schema",
        "bomFormat",
        "components",
        "dependencies",
        "metadata",
        "specVersion",
        "version",
    }
    del bom["$schema"]
    assert "timestamp" not in bom["metadata"]
    assert "://" not in json.dumps(bom)


# install.sh, with the real pip and a package of this folder in place of those that it would fetch

BACKEND = """
import shutil

def build_wheel(folder, settings=None, metadata=None):
    shutil.copy("own-1.0-py3-none-any.whl", folder)
    return "own-1.0-py3-none-any.whl"
"""


def wheel(folder: Path, name: str) -> Path:
    """A package with one module."""
    file = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return file


def offered(folder: Path) -> dict[str, str]:
    """Make the packages that the files ask for, named like them, and return their hashes."""
    return {name: hashlib.sha256(wheel(folder, _named(name)).read_bytes()).hexdigest() for name in ASKED}


def _named(file: str) -> str:
    return file.removesuffix(".txt").replace("-", "_")


def installed(folder: Path, hashes: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a copy of install.sh, where each file asks for one package, with that hash."""
    here = folder / "checkout/systemd/python"
    here.mkdir(parents=True)
    shutil.copy(FOLDER / "install.sh", here)
    for name, digest in hashes.items():
        (here / name).write_text(f"{_named(name)}==1.0 --hash=sha256:{digest}\n")
    checkout = folder / "checkout"
    wheel(checkout, "own")
    (checkout / "backend.py").write_text(BACKEND)
    (checkout / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    pip = Path(sys.executable).with_name("pip")
    command = [str(here / "install.sh"), str(pip), "--target", str(folder / "target")]
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "TMPDIR": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_what_has_its_hash_is_installed_and_what_builds_it_is_not_left_there(tmp_path: Path) -> None:
    hashes = offered(tmp_path)
    done = installed(tmp_path, hashes)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "target").glob("*.py")} == {"requirements.py", "own.py"}


@pytest.mark.parametrize("changed", ASKED)
def test_what_has_another_hash_is_not_installed(tmp_path: Path, changed: str) -> None:
    hashes = offered(tmp_path)
    done = installed(tmp_path, {**hashes, changed: "0" * 64})
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE" in done.stderr
    assert f"Expected sha256 {'0' * 64}" in done.stderr
    assert not (tmp_path / "target").exists()
