"""What the tests of routes share: `ip`, and a tun device that this process holds."""

import fcntl
import os
import struct
import subprocess

from lab.deadline import until

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


def routing() -> str:
    """All rules and routes, as text."""
    return "".join(
        ip(family, *what) for family in ("-4", "-6") for what in (["rule"], ["route", "show", "table", "all"])
    )


class Tun:
    """A tun device, up and running until the end of the `with`."""

    def __init__(self, name: str, *addresses: str) -> None:
        self.name = name
        self._descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(
            self._descriptor, _TUNSETIFF, struct.pack("16sH22x", os.fsencode(name), _IFF_TUN | _IFF_NO_PI)
        )
        for address in addresses:
            ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
        ip("link", "set", name, "addrgenmode", "none")  # no address that comes when it likes
        ip("link", "set", name, "up")
        six = [address.split("/")[0] for address in addresses if ":" in address]
        until(lambda: all(f"local {address} " in self._local() for address in six), 10, f"{six} to be local")

    def _local(self) -> str:
        return ip("-6", "route", "show", "table", "local", "dev", self.name)

    def route(self, *destinations: str) -> None:
        for destination in destinations:
            ip("-6" if ":" in destination else "-4", "route", "add", destination, "dev", self.name)

    def __enter__(self) -> "Tun":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
