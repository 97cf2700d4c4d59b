"""A named network namespace: commands, sockets and rules inside it."""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def require_isolation() -> None:
    """Raises RuntimeError unless this process already has a network, mount and PID namespace of its own.

    The lab makes interfaces and routing rules; only a namespace that ends with the run leaves nothing behind.
    """
    if os.environ.get("STUNWALL_LAB") != "1":
        raise RuntimeError(
            "The lab runs only in namespaces of its own: start it with `./tests/run.sh lab` "
            "(or browser), which makes them and sets STUNWALL_LAB=1."
        )


class Namespace:
    """One `ip netns` namespace, made at once and removed by close()."""

    def __init__(self, name: str) -> None:
        self.name = name
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.ip("link set lo up")

    def close(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def call(self, work: Callable[[], T]) -> T:
        """What `work()` returns when it runs inside, in a thread of its own. Its exceptions come out here."""
        result: list[T] = []
        error: list[BaseException] = []

        def inside() -> None:
            try:
                _enter(self.name)
                result.append(work())
            except BaseException as caught:  # noqa: BLE001 - handed to the caller's thread below
                error.append(caught)

        thread = threading.Thread(target=inside, name=f"in {self.name}")
        thread.start()
        thread.join()
        if error:
            raise error[0]
        return result[0]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that belongs to this namespace, usable from any thread."""
        return self.call(lambda: socket.socket(family, kind, protocol))

    def command(self, *arguments: str) -> list[str]:
        """The argument vector that runs `arguments` inside."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str, seconds: float = 20) -> subprocess.CompletedProcess[str]:
        """The finished command, whatever its exit code; TimeoutExpired after `seconds`."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=seconds)

    def ip(self, script: str, family: int = AF_INET) -> None:
        """Runs each line as one `ip` command, in order; RuntimeError at the first that fails.

        `family` is for lines that name no address, as most of `rule` do.
        """
        version = ["-6"] if family == AF_INET6 else []
        lines = [line.strip() for line in script.splitlines() if line.strip()]
        self._feed(["ip", *version, "-n", self.name, "-batch", "-"], "\n".join(lines) + "\n")

    def nft(self, rules: str) -> None:
        """Loads `rules` in one transaction."""
        self._feed(self.command("nft", "-f", "-"), rules)

    def _feed(self, arguments: list[str], text: str) -> None:
        done = subprocess.run(arguments, input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} in {self.name}: {done.stderr.strip()}\n{text}")

    def read(self, path: str) -> str:
        """A file below /proc/net, or '' if the kernel doesn't have it, as this namespace sees it."""
        # /proc/net is the main thread's; only thread-self shows the namespace that the thread entered.
        file = Path("/proc/thread-self/net") / path
        return self.call(lambda: file.read_text() if file.exists() else "")

    def sysctl(self, name: str, value: int) -> None:
        """Sets net.`name`, written with slashes: 'ipv4/ip_forward'."""
        self.call(lambda: Path("/proc/sys/net", name).write_text(str(value)))


def _enter(name: str) -> None:
    with Path("/run/netns", name).open() as handle:
        if _libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"setns to {name}: {os.strerror(code)}")
