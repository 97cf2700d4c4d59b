"""A virtual machine: a release of Debian, emulated by qemu, its network card on the lab's cable."""

import json
import os
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lab.deadline import until
from lab.namespace import Namespace
from lab.process import Process
from vm.channel import Channel, Done, Running
from vm.image import Image

MEMORY = 768  # MiB
BOOT_SECONDS = 240  # a boot takes thirty on an idle machine; it is emulated, and others may be busy too
# qemu 7.2 gets two things wrong that Debian's programs and Linux 6.12 use where a processor has them: AVX2, and the
# flags after cmpxchg16b. This one has neither. Without hardware virtualisation of its own, which nobody needs here.
PROCESSOR = "qemu64,-svm,-cx16"
HARDWARE = f"""
    -nodefaults -no-reboot -no-user-config -display none
    -machine q35 -accel tcg,tb-size=512 -cpu {PROCESSOR} -m {MEMORY}
    -netdev tap,id=cable,ifname=home,script=no,downscript=no -device virtio-net-pci,netdev=cable
    -device virtio-rng-pci -device virtio-serial-pci
"""
KERNEL_OPTIONS = "console=ttyS0 TERM=dumb net.ifnames=0 mitigations=off random.trust_cpu=on"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A machine at one moment: its memory, and its disk, to which nothing may be written any more."""

    memory: Path
    disk: Path


class Machine:
    """Runs from the constructor until close(). `disk` is written to."""

    def __init__(
        self,
        namespace: Namespace,
        image: Image,
        disk: Path,
        checkout: Path,
        *,
        options: str = "",
        snapshot: Snapshot | None = None,
    ) -> None:
        self.disk = disk
        self._folder = tempfile.TemporaryDirectory(prefix="stunwall-machine-")
        folder = Path(self._folder.name)
        self._console = folder / "console"
        self._last_words = ""
        self._process = Process(
            namespace,
            "qemu-system-x86_64",
            *HARDWARE.split(),
            *("-kernel", str(image.kernel), "-initrd", str(image.initramfs)),
            *("-append", f"{KERNEL_OPTIONS} {options}"),
            *("-drive", f"if=virtio,format=qcow2,cache=unsafe,file={disk}"),
            *("-drive", f"if=virtio,format=raw,readonly=on,file={checkout}"),
            *("-chardev", f"socket,id=control,path={folder}/control,server=on,wait=off"),
            *("-device", "virtserialport,chardev=control,name=control"),
            *("-qmp", f"unix:{folder}/qmp,server=on,wait=off"),
            *("-serial", f"file:{self._console}"),
            *(("-incoming", f"exec:cat {snapshot.memory}") if snapshot else ()),
        )
        try:
            self._monitor = Monitor(self._connected(folder / "qmp"))
            self.channel = Channel(self._connected(folder / "control"))
            if snapshot:
                until(
                    lambda: self.ask("query-status")["status"] != "inmigrate", 60, "the snapshot to be read"
                )
                self.ask("cont")  # it was stopped when it was taken
        except BaseException:
            self._process.kill()
            raise

    def _connected(self, path: Path) -> socket.socket:
        """A connection to one of qemu's sockets, once qemu listens there: the file is there before that."""
        found = socket.socket(socket.AF_UNIX)
        until(
            lambda: found.connect_ex(str(path)) == 0 or not self._process.running, 20, f"qemu's {path.name}"
        )
        if not self._process.running:
            raise RuntimeError(f"qemu ended:\n{self._process.output}")
        return found

    def close(self) -> None:
        """Ends the machine as a power cut does."""
        self._process.kill()
        self.channel.close()
        self._monitor.close()
        self._last_words = self.console
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_ready(self) -> None:
        """Returns once systemd has nothing left to start, and the checkout is at /run/checkout."""
        until(lambda: self.channel.ready.is_set() or not self._process.running, BOOT_SECONDS, "a boot")
        self.run("mount", "--mkdir", "-o", "ro", "/dev/vdb", "/run/checkout")
        # Whether all of it went well is for the tests to say.
        self.channel.start("systemctl", "is-system-running", "--wait").wait(BOOT_SECONDS)

    def run(self, *command: str, text: str = "", seconds: float = 60) -> str:
        """What the command prints; AssertionError with all that it said if it fails."""
        done = self.attempt(*command, text=text, seconds=seconds)
        assert done.code == 0, str(done)
        return done.output

    def attempt(self, *command: str, text: str = "", seconds: float = 60) -> Done:
        """The finished command, whatever its exit code."""
        return self.start(*command, text=text).wait(seconds)

    def start(self, *command: str, text: str = "") -> Running:
        return self.channel.start(*command, text=text)

    @property
    def console(self) -> str:
        """All that the kernel and systemd wrote to the serial line, but for what says that a job takes its time."""
        text = self._console.read_text(errors="replace") if self._console.exists() else self._last_words
        return "\n".join(line for line in text.splitlines() if line.strip() and " running (" not in line)

    @property
    def running(self) -> bool:
        return self._process.running

    def begin_power_off(self) -> None:
        """Orders a clean shutdown, and returns while it goes on."""
        self.channel.start("systemctl", "poweroff")

    def wait_off(self) -> None:
        """Returns when the machine is off."""
        until(lambda: not self._process.running, BOOT_SECONDS, "the machine to power off")

    def sleep(self) -> None:
        """Suspends it to memory; returns once it sleeps."""
        self.start("sh", "-c", "echo mem >/sys/power/state")
        until(lambda: self.ask("query-status")["status"] == "suspended", BOOT_SECONDS, "the machine to sleep")

    def wake(self) -> None:
        """As somebody who opens the lid."""
        self.ask("system_wakeup")

    def ask(self, command: str, **arguments: Any) -> Any:
        """What qemu itself answers to a command of its machine protocol (QMP)."""
        return self._monitor.ask(command, **arguments)

    def freeze(self, memory: Path) -> Snapshot:
        """Stops the machine for good, in a state that can be gone on from, again and again."""
        self.ask("stop")
        self.ask("migrate-set-parameters", **{"max-bandwidth": 10 << 30})
        self.ask("migrate", uri=f"exec:cat >{memory}")
        until(
            lambda: self.ask("query-migrate")["status"] not in ("setup", "active", "device"),
            120,
            "a snapshot",
        )
        status = self.ask("query-migrate")
        if status["status"] != "completed":
            raise RuntimeError(f"qemu made no snapshot: {status}")
        self.ask("quit")
        until(lambda: not self._process.running, 20, "qemu to write all that it holds and end")
        return Snapshot(memory, self.disk)


class Monitor:
    """qemu's machine protocol (QMP)."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._lines = self._socket.makefile("rb")
        self._lines.readline()  # its greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """The answer to one command; RuntimeError if qemu refuses it."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := self._lines.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"qemu refuses {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise RuntimeError(f"qemu ended instead of {command}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def layer(below: Path, path: Path) -> Path:
    """A new disk at `path` that shows `below`, and keeps what is written by itself."""
    kind = "qcow2" if below.suffix == ".qcow2" else "raw"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", os.fspath(below), "-F", kind, os.fspath(path)],
        check=True,
    )
    return path
