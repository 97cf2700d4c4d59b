"""Builds the image of systemd/docker/Dockerfile by buildah, and unpacks it: `python -m container.image`.

No registry is asked. The base is made of Debian's packages, from where this machine gets its own; what it has set for
apt and pip holds in the build as well.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from vm.image import _sources

CHECKOUT = Path(__file__).parents[2]
RELEASE = "bookworm"
BASE, NAME = "localhost/base", "localhost/stunwall"
SETTINGS = ("/etc/pip.conf", "/etc/xdg/pip", "/etc/apt/apt.conf.d", "/etc/ssl/certs")
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}


def folder() -> Path:
    """Where the image is unpacked: `root`, and its configuration, config.json."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "stunwall-container")


def configuration() -> dict[str, Any]:
    """The image's configuration, as the Docker Image Specification has it."""
    found: dict[str, Any] = json.loads((folder() / "config.json").read_text())
    return found


def main() -> None:
    """Builds and unpacks it."""
    shutil.rmtree(folder(), ignore_errors=True)
    folder().mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="stunwall-image-") as name:
        work = Path(name)
        _make_base(work / "base.tar")
        _build(work)


def _make_base(archive: Path) -> None:
    include = "--include=ca-certificates"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=apt", include, RELEASE, str(archive), "-"],
        input=_sources(RELEASE),
        text=True,
        check=True,
    )


def _build(work: Path) -> None:
    (work / "policy.json").write_text(json.dumps(POLICY))
    trusted = ("--signature-policy", f"{work}/policy.json")
    base = _buildah(work, "from", "scratch")
    _buildah(work, "add", base, f"{work}/base.tar", "/")
    _buildah(work, "commit", "--rm", *trusted, base, BASE)
    volumes = [option for path in SETTINGS if Path(path).exists() for option in ("-v", f"{path}:{path}:ro")]
    file = CHECKOUT / "systemd/docker/Dockerfile"
    options = (*trusted, "--pull-never", "--format", "docker", "--build-arg", f"BASE={BASE}", *volumes)
    _buildah(work, "bud", *options, "-t", NAME, "-f", str(file), str(CHECKOUT))
    shown = json.loads(_buildah(work, "inspect", "--type", "image", NAME))
    (folder() / "config.json").write_text(json.dumps(shown["Docker"]["config"]))
    made = _buildah(work, "from", *trusted, "--pull-never", NAME)
    subprocess.run(["cp", "-a", _buildah(work, "mount", made), str(folder() / "root")], check=True)
    _buildah(work, "umount", made)


def _buildah(work: Path, *arguments: str) -> str:
    """What buildah prints last; its storage is in `work`."""
    environment = os.environ | {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    command = ["buildah", "--root", f"{work}/storage", "--runroot", f"{work}/run", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout if arguments[0] == "inspect" else done.stdout.strip().rpartition("\n")[2]


if __name__ == "__main__":
    main()
