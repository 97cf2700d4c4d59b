"""A named network namespace, with the commands, sockets and rules inside it."""

import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_NETLINK, AF_UNSPEC, SOCK_RAW
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_conntrack.h: a delete without a tuple
# deletes all entries.
NETLINK_NETFILTER, NLM_F_REQUEST, CT_DELETE = 12, 1, 1 << 8 | 2
_libc = ctypes.CDLL(None, use_errno=True)


def require_isolation() -> None:
    """Raises RuntimeError unless this process already has a network, mount and PID namespace of its own.

    The lab makes interfaces and routing rules. In namespaces that end with the run, none of them stays.
    """
    if os.environ.get("STUNWALL_LAB") != "1":
        raise RuntimeError(
            "The lab runs only in its own namespaces: start it with `./tests/run.sh lab` (or browser), "
            "which makes them and sets STUNWALL_LAB=1."
        )


class Namespace:
    """One `ip netns` namespace, made by the constructor and removed by close()."""

    def __init__(self, name: str) -> None:
        self.name = name
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.ip("link set lo up")

    def close(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def call(self, work: Callable[[], T]) -> T:
        """Runs `work()` inside, in a thread of its own; returns what it returns, and raises what it raises."""
        result: list[T] = []
        error: list[BaseException] = []

        def inside() -> None:
            try:
                _enter(self.name)
                result.append(work())
            except BaseException as caught:  # noqa: BLE001 - raised in the caller's thread
                error.append(caught)

        thread = threading.Thread(target=inside, name=f"in {self.name}")
        thread.start()
        thread.join()
        if error:
            raise error[0]
        return result[0]

    def socket(self, family: int, kind: int, protocol: int = 0, user: int = 0) -> socket.socket:
        """A socket that belongs to this namespace and this user, usable from any thread."""

        def make() -> socket.socket:
            # Of this thread alone. Routing rules and firewalls see the user who made the socket.
            _libc.setfsuid(user)
            return socket.socket(family, kind, protocol)

        return self.call(make)

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs `arguments` inside."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str, seconds: float = 20) -> subprocess.CompletedProcess[str]:
        """The finished command, whatever its exit code; TimeoutExpired after `seconds`."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=seconds)

    def printed(self, *arguments: str) -> str:
        """What the command prints, on standard output and standard error, whatever its exit code."""
        done = self.run(*arguments)
        return done.stdout + done.stderr

    def ip(self, script: str, family: int = AF_INET) -> None:
        """Runs each line as one `ip` command, in order; RuntimeError at the first that fails.

        `family` is for lines without an address, such as most of `rule`.
        """
        version = ["-6"] if family == AF_INET6 else []
        lines = [line.strip() for line in script.splitlines() if line.strip()]
        self._feed(["ip", *version, "-n", self.name, "-batch", "-"], "\n".join(lines) + "\n")

    def nft(self, rules: str) -> None:
        """Loads `rules` in one transaction."""
        self._feed(self.command("nft", "-f", "-"), rules)

    def delete_connections(self) -> None:
        """Deletes every entry of connection tracking, as `conntrack -F`."""
        with self.socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) as netlink:
            # struct nlmsghdr, struct nfgenmsg: of every family
            netlink.send(struct.pack("=IHHIIBBH", 20, CT_DELETE, NLM_F_REQUEST, 0, 0, AF_UNSPEC, 0, 0))

    def masquerade(self, table: str, match: str) -> None:
        """Loads a table that gives the packets that `match` the address of the interface they leave by."""
        self.nft(f"""
            table {table} {{
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    {match} masquerade
                }}
            }}
        """)

    @contextmanager
    def table(self, name: str, chains: str) -> Iterator[None]:
        """The nftables table `name` with these chains, deleted afterwards."""
        self.nft(f"table {name} {{\n{chains}\n}}\n")
        try:
            yield
        finally:
            self.nft(f"delete table {name}")

    @contextmanager
    def rule(self, rule: str, family: int = AF_INET) -> Iterator[None]:
        """A policy routing rule, as `ip rule` takes it, deleted afterwards."""
        self.ip(f"rule add {rule}", family)
        try:
            yield
        finally:
            self.ip(f"rule del {rule}", family)

    def _feed(self, arguments: list[str], text: str) -> None:
        done = subprocess.run(arguments, input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} in {self.name}: {done.stderr.strip()}\n{text}")

    def read(self, path: str) -> str:
        """A file of /proc/net, named relative to it, as this namespace sees it; '' if the kernel doesn't have it."""
        # /proc/net shows the main thread's namespace, and only thread-self the one that this thread entered.
        file = Path("/proc/thread-self/net") / path
        return self.call(lambda: file.read_text() if file.exists() else "")

    def sysctl(self, name: str, value: int) -> None:
        """Sets a sysctl of `net`, named with slashes: 'ipv4/ip_forward'."""
        self.call(lambda: Path("/proc/sys/net", name).write_text(str(value)))


def _enter(name: str) -> None:
    with Path("/run/netns", name).open() as handle:
        if _libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"setns to {name}: {os.strerror(code)}")
