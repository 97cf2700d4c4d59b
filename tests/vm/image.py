"""The disks that the virtual machines start from, made of nothing but Debian's packages.

For each of two releases of Debian: a root file system with systemd, the release's stock kernel and an initramfs.
"""

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Debian 12 and 13, by their version of Linux.
RELEASES = {"6.1": "bookworm", "6.12": "trixie"}
KERNEL_PACKAGE = "linux-image-cloud-amd64"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

PACKAGES = (
    "systemd-sysv",
    "udev",
    "kmod",
    "mount",
    "passwd",
    "procps",
    "iproute2",
    "nftables",
    "dbus",
    "dbus-user-session",  # as every desktop has it
    "polkitd",
    "apparmor",  # Debian's kernel recommends it, so that a usual installation has it
    # What stunwall's package depends on, and what install.sh asks for: there is no network to get it by.
    "python3",
    "libnetfilter-queue1",
    "ca-certificates",
    "gcc",
    "libc6-dev",
    "python3-dev",
    "python3-venv",
    "libnetfilter-queue-dev",
    "dpkg-dev",  # to build stunwall's package (package.py)
    "wireguard-tools",
    "charon-systemd",
    "strongswan-swanctl",
    "libcharon-extra-plugins",  # for the other end (ipsec.py), which runs from this root too
    # What `stunwall doctor` has to find.
    "ufw",
    # What Ansible needs on a machine.
    "dropbear-bin",
    "python3-apt",
)
# Files that no test looks at; leaving them out makes the image small and quick to build.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/i18n/*")
# What stands between power-on and the root file system, as modules, and the port of guest/control.py; ext4 is part of
# Debian's kernel.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console")

# Chores of a machine that lives for years; a test has no use for them, and they cost seconds of emulation.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "getty.target",
    "systemd-networkd-wait-online.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "systemd-binfmt.service",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "modprobe@drm.service",
    "kmod-static-nodes.service",
    "systemd-pstore.service",
    "systemd-network-generator.service",
    "systemd-journal-flush.service",
)

UNUSED = 2 * 3600  # seconds; a run takes half an hour
GUEST = Path(__file__).with_name("guest")
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
until [ -b /dev/vda ]; do /bin/busybox usleep 10000; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


# $1: an empty folder, $2: the root file system, $3: the folder to be found at /mnt, $4...: the command
INSIDE = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" none "$1/root"
mount --bind "$3" "$1/root/mnt"
mount --rbind /dev "$1/root/dev"
mount -t proc none "$1/root/proc"
root=$1/root
shift 3
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image: the root file system, as a folder and as a disk, and its kernel. Nothing is written to it."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The root file system, without a partition table."""
        return self.folder / "root.ext4"

    def with_package(self, deb: Path) -> Path:
        """The disk of a system on which `deb` was installed too: by dpkg, while the system was not running."""
        key = hashlib.sha256(self.folder.name.encode() + deb.read_bytes()).hexdigest()[:16]

        def install(work: Path) -> Path:
            run("cp", "-a", str(self.folder / "root"), str(work / "root"))
            shutil.copy(deb, work / "root/tmp/stunwall.deb")
            run("chroot", str(work / "root"), "dpkg", "-i", "/tmp/stunwall.deb")
            (work / "disk").mkdir()
            _make_disk(work / "root", work / "disk/root.ext4")
            return work / "disk"

        return kept("installed", key, install) / "root.ext4"

    def run(self, work: Path, *command: str) -> str:
        """What a command prints that runs in the system, where the folder `work` is /mnt. Without a network of its own.

        What it changes elsewhere is gone afterwards.
        """
        with tempfile.TemporaryDirectory(dir=cache(), prefix="new-root.") as empty:
            folders = (empty, str(self.folder / "root"), str(work))
            return run("unshare", "--mount", "sh", "-c", INSIDE, "sh", *folders, *command)

    @property
    def kernel(self) -> Path:
        """Its bzImage."""
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"


def cache() -> Path:
    """The folder that keeps what takes long to build."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "stunwall-vm")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kept(kind: str, key: str, make: Callable[[Path], Path], build: bool = True) -> Path:
    """The folder of that kind and key, made where it is missing: `make(work)` returns what becomes it.

    RuntimeError if it is missing and shall not be built.
    """
    folder = cache() / f"{kind}-{key}"
    if not build and not folder.exists():
        raise RuntimeError(f"no {folder}: it is built by `./tests/run.sh vm` (tests/vm/prepare.py)")
    with cache().joinpath(f"lock-{kind}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache(), prefix=f"new-{kind}.") as work:
                make(Path(work)).rename(folder)
        os.utime(folder)  # so that sweep() leaves it
    return folder


def image(kernel: str, build: bool = False) -> Image:
    """The image with that Linux, a key of RELEASES.

    RuntimeError if it has not been built, unless it shall be: that takes a network.
    """
    release = RELEASES[kernel]
    return Image(kept("image", _key(release), partial(_build, release), build))


def sweep() -> None:
    """Removes what has not been used for so long that no run, of another checkout either, needs it any more."""
    for folder in cache().iterdir():
        with suppress(FileNotFoundError):  # another run removes it at the same time
            if folder.is_dir() and time.time() - folder.stat().st_mtime > UNUSED:
                shutil.rmtree(folder)


def _key(release: str) -> str:
    digest = hashlib.sha256(release.encode())
    for file in (Path(__file__), *sorted(path for path in GUEST.rglob("*") if path.is_file())):
        digest.update(str(file.relative_to(Path(__file__).parent)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _build(release: str, work: Path) -> Path:
    result = work / "image"
    root = result / "root"
    result.mkdir()
    with ThreadPoolExecutor() as pool:
        kernel = pool.submit(_get_kernel, release, work / "kernel")
        _make_root(release, root)
        _add_kernel(kernel.result(), root, result)
    _adapt(root)
    _make_disk(root, result / "root.ext4")
    return result


def _make_disk(root: Path, disk: Path) -> None:
    run("truncate", "-s", "2G", str(disk))
    run(
        "mkfs.ext4",
        "-q",
        "-m",
        "0",
        "-O",
        "^has_journal",
        "-E",
        "lazy_itable_init=1",
        "-d",
        str(root),
        str(disk),
    )


def run(*arguments: str, text: str | None = None, cwd: Path | None = None) -> str:
    """What the command prints; RuntimeError with its errors if it fails.

    The run's own settings of Python, such as a folder for bytecode, don't reach what is installed in a system.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, cwd=cwd, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def _sources(release: str) -> str:
    """The sources of a release, as the lines of a sources.list: where this machine gets its own release of Debian."""
    targets = run(
        "apt-get",
        "indextargets",
        "--format",
        "$(CODENAME) $(SITE) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    )
    lines = [line.split() for line in targets.splitlines()]
    for known in RELEASES.values():
        wanted = (known, f"{known}-security", f"{known}-updates")
        found = [
            f"deb [signed-by={KEYRING}] {site} {suite.replace(known, release)} {component}\n"
            for code, site, suite, component in lines
            if code in wanted and component == "main"
        ]
        if found:
            return "".join(dict.fromkeys(found))
    known = " or ".join(RELEASES.values())
    raise RuntimeError(
        f"apt on this machine knows no source of Debian {known}: add one, then `apt-get update`"
    )


class _Apt:
    """A package source of one release, with lists of its own: this machine's stay as they are."""

    def __init__(self, release: str, folder: Path) -> None:
        self._folder = folder
        for needed in ("lists/partial", "cache/archives/partial", "got"):
            (folder / needed).mkdir(parents=True)
        (folder / "sources.list").write_text(_sources(release))
        self._options = (
            "-o",
            f"Dir::Etc::SourceList={folder}/sources.list",
            "-o",
            "Dir::Etc::SourceParts=-",
            "-o",
            f"Dir::State::Lists={folder}/lists",
            "-o",
            f"Dir::Cache={folder}/cache",
            "-o",
            "APT::Sandbox::User=root",
        )
        run("apt-get", *self._options, "update")

    def kernel(self) -> str:
        """The name of the package that KERNEL_PACKAGE stands for."""
        depends = run("apt-cache", *self._options, "depends", KERNEL_PACKAGE)
        found = re.search(r"Depends: (linux-image-\S+)", depends)
        if found is None:
            raise RuntimeError(f"{KERNEL_PACKAGE} depends on no kernel: {depends}")
        return found[1]

    def unpack(self, package: str, target: Path) -> None:
        got = self._folder / "got"
        run("apt-get", *self._options, "download", package, cwd=got)
        (file,) = got.glob("*.deb")
        run("dpkg-deb", "-x", str(file), str(target))
        file.unlink()


def _get_kernel(release: str, folder: Path) -> Path:
    """The folder with a kernel's package and busybox unpacked into it."""
    apt = _Apt(release, folder / "apt")
    for package in (apt.kernel(), "busybox-static"):
        apt.unpack(package, folder / "files")
    return folder / "files"


def _make_root(release: str, root: Path) -> None:
    excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    run(
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        "--dpkgopt=force-unsafe-io",
        *excluded,
        f"--include={','.join(PACKAGES)}",
        release,
        str(root),
        "-",
        text=_sources(release),
    )


def _add_kernel(files: Path, root: Path, result: Path) -> None:
    # Older packages unpack to /lib and /bin, newer ones to /usr.
    (built,) = (*files.glob("lib/modules/*"), *files.glob("usr/lib/modules/*"))
    (busybox,) = (*files.glob("bin/busybox"), *files.glob("usr/bin/busybox"))
    release = built.name
    shutil.copy(files / f"boot/vmlinuz-{release}", result / "vmlinuz")
    modules = root / "lib/modules" / release
    modules.parent.mkdir(exist_ok=True)
    built.rename(modules)
    run("chroot", str(root), "depmod", release)
    _make_initramfs(modules, busybox, result / "initramfs")


def _make_initramfs(modules: Path, busybox: Path, result: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for inside in ("bin", "dev", "modules", "root"):
            (folder / inside).mkdir()
        shutil.copy(busybox, folder / "bin/busybox")
        for number, file in enumerate(_with_dependencies(modules)):
            data = (modules / file).read_bytes()
            plain = lzma.decompress(data) if file.endswith(".xz") else data
            (folder / f"modules/{number:02}").write_bytes(plain)
        (folder / "init").write_text(INIT)
        (folder / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
        run("cpio", "--quiet", "-o", "-H", "newc", "-F", str(result), text=names + "\n", cwd=folder)


def _with_dependencies(modules: Path) -> list[str]:
    """The files of BOOT_MODULES, each after those that it needs (depmod lists those in reverse order)."""
    needs = dict(line.split(":") for line in (modules / "modules.dep").read_text().splitlines())
    built_in = (modules / "modules.builtin").read_text()
    ordered: list[str] = []
    for wanted in BOOT_MODULES:
        if f"/{wanted}.ko\n" in built_in:
            continue
        (file,) = (name for name in needs if Path(name).name.split(".")[0] == wanted)
        ordered += [name for name in (*reversed(needs[file].split()), file) if name not in ordered]
    return ordered


def _adapt(root: Path) -> None:
    """What Debian's installer would have asked for, and the control program of guest/."""
    shutil.copytree(GUEST / "etc", root / "etc", dirs_exist_ok=True)
    programs = root / "usr/local/lib/machine"
    programs.mkdir(parents=True)
    shutil.copy(GUEST / "control.py", programs)
    run("gcc", "-static", "-O2", "-Wall", "-Werror", "-o", str(programs / "early"), str(GUEST / "early.c"))
    (root / "etc/hostname").write_text("machine\n")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    systemctl = ("chroot", str(root), "systemctl", "--quiet")
    run(*systemctl, "enable", "control.service", "early.service", "systemd-networkd.service")
    run(*systemctl, "disable", "strongswan.service")
    run(*systemctl, "set-default", "multi-user.target")
    run(*systemctl, "mask", *MASKED)
    # AppArmor's profiles for a hundred programs that are not there: reading them takes half a minute of each boot.
    for profile in (root / "etc/apparmor.d").iterdir():
        if profile.is_file():
            profile.unlink()


if __name__ == "__main__":
    for version in RELEASES:
        print(image(version, build=True).folder)
