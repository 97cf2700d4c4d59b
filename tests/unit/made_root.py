"""A root of its own for shell scripts: the real shell and tools, and programs that only note how they were called."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
# What install.sh and uninstall.sh take from the real machine: nothing that could change it.
_TOOLS = """
basename cat chmod cp dirname env getent grep id install ln mkdir mktemp mv readlink rm rmdir sed sh sync tail xargs
"""
_FOLDERS = """
checkout dev etc/systemd/system fakes machine opt run/systemd/system tmp usr/bin usr/lib usr/local/bin usr/local/lib
usr/local/sbin usr/local/share/man var/lib var/log
"""
_NOTE = "#!/bin/sh\nprintf '%s\\n' \"${0##*/} $*\" >>/calls\n"
_USER = """
grep -q ^stunwall: /etc/passwd || echo stunwall:x:990:990::/var/lib/stunwall:/usr/sbin/nologin >>/etc/passwd
grep -q ^stunwall: /etc/group || echo stunwall:x:990: >>/etc/group
"""
_PYTHON = """
case $1 in
    --version) echo Python 3.11.2 ;;
    -m) mkdir -p "$3/bin"; cp /fakes/pip "$3/bin/pip"; cp /fakes/python "$3/bin/python" ;;
esac
"""
# Of the environment: it runs the command from it before it is in its place.
_MODULE = """
[ "$1 $2" = "-m stunwall.cli" ] || exit 1
shift 2
exec /fakes/stunwall "$@"
"""
# The environment's own programs, which name the folder that they were made in.
_PIP = """
for name in stunwall stunwalld; do
    { cat /fakes/$name; echo "# made in ${0%/*}"; } >"${0%/*}/$name"
    chmod 755 "${0%/*}/$name"
done
"""
_INSIDE = """
set -e
mount --bind -r /usr "$1/machine"
mount --bind -r "$2" "$1/checkout"
mount --bind /dev/null "$1/dev/null"
root=$1
user=$3
shift 3
exec chroot --userspec="$user:$user" "$root" /usr/bin/env -i PATH=/usr/bin "$@"
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended, and which programs it called, in order."""

    code: int
    out: str
    err: str
    calls: list[str]


class Root:
    """A folder that a script takes for the machine; nothing that it does is seen outside.

    Without a package manager, and with systemd, until a test changes that.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _FOLDERS.split():
            (folder / name).mkdir(parents=True)
        (folder / "dev/null").touch()
        for name in ("bin", "lib", "lib64"):
            (folder / name).symlink_to(f"usr/{name}")
        (folder / "usr/lib64").symlink_to("/machine/lib64")
        for path in Path("/usr/lib").iterdir():
            (folder / "usr/lib" / path.name).symlink_to(f"/machine/lib/{path.name}")
        for name in _TOOLS.split():
            (folder / "usr/bin" / name).symlink_to(f"/machine/bin/{name}")
        self.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n")
        self.write("etc/group", "root:x:0:\n")
        for name in ("gcc", "ip", "journalctl", "nft", "systemctl"):
            self.fake(name)
        self.fake("systemd-sysusers", _USER)
        self.fake("useradd", _USER)
        self.fake("userdel", "sed -i /^stunwall:/d /etc/passwd /etc/group")
        self.fake("groupdel", "sed -i /^stunwall:/d /etc/group")
        self.fake("python3", _PYTHON)
        for name, body in (("pip", _PIP), ("python", _MODULE), ("stunwall", ""), ("stunwalld", "")):
            self.fake(name, body, "fakes")

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def fake(self, name: str, body: str = "", folder: str = "usr/bin") -> None:
        """Put in a program that notes how it is called, and then does this."""
        file = self.folder / folder / name
        file.unlink(missing_ok=True)
        file.write_text(_NOTE + body + "\n")
        file.chmod(0o755)

    def remove(self, path: str) -> None:
        found = self.folder / path
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink()

    def there(self) -> set[str]:
        """What is on the machine, but for what it is made of and what was noted."""
        paths = [self.folder / name for name in ("etc", "opt", "run", "usr/local", "var", "tmp")]
        return {str(path.relative_to(self.folder)) for each in paths for path in each.rglob("*")}

    def run(self, script: str, *arguments: str, user: int = 0) -> Ended:
        """Run a script of the checkout in here."""
        noted = self.folder / "calls"
        noted.write_text("")
        noted.chmod(0o666)
        command = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            _INSIDE,
            "sh",
            str(self.folder),
            str(CHECKOUT),
            str(user),
        ]
        done = subprocess.run(
            [*command, f"/checkout/{script}", *arguments], capture_output=True, text=True, check=False
        )
        return Ended(done.returncode, done.stdout, done.stderr, noted.read_text().splitlines())
