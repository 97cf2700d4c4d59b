"""WireGuard brought up by wg-quick itself, with its own rules, routes, firewall table and sysctl."""

import subprocess
import tempfile
from pathlib import Path
from socket import AF_INET, AF_INET6

from lab.addresses import VPN_PORT, VPN_SERVER
from lab.deadline import until
from lab.namespace import Namespace
from lab.wireguard import SERVER_INTERFACE

INTERFACE = "wgq0"
ADDRESS = {AF_INET: "10.9.0.3", AF_INET6: "fd09::3"}


class Account:
    """A client that the lab's WireGuard server knows, from the constructor until close()."""

    def __init__(self) -> None:
        key = _wg("genkey")
        self._public = _wg("pubkey", text=key)
        addresses = f"{ADDRESS[AF_INET]}/32, {ADDRESS[AF_INET6]}/128"
        _wg("set", SERVER_INTERFACE, "peer", self._public, "allowed-ips", addresses.replace(" ", ""))
        self.config = (
            f"[Interface]\nAddress = {addresses}\nPrivateKey = {key}\n"
            f"[Peer]\nPublicKey = {_wg('show', SERVER_INTERFACE, 'public-key')}\n"
            f"Endpoint = {VPN_SERVER[AF_INET]}:{VPN_PORT}\n"
            "AllowedIPs = 0.0.0.0/0, ::/0\nPersistentKeepalive = 25\n"
        )
        """What wg-quick reads (wg-quick(8)): both IP versions through the VPN."""

    def close(self) -> None:
        _wg("set", SERVER_INTERFACE, "peer", self._public, "remove")


class WgQuick:
    """A second client of the lab's WireGuard server, to be used while the lab's own is down."""

    def __init__(self, client: Namespace) -> None:
        self._client = client
        self._is_up = False
        self._folder = tempfile.TemporaryDirectory(prefix="wg-quick-")
        self._account = Account()
        self._file = Path(self._folder.name, f"{INTERFACE}.conf")
        self._file.touch(0o600)
        self._file.write_text(self._account.config)

    def close(self) -> None:
        self.down()
        self._account.close()
        self._folder.cleanup()

    def up(self) -> None:
        """`wg-quick up`; returns after the first handshake."""
        self.down()
        self._run("up")
        self._is_up = True
        until(self._shook_hands, 10, "a WireGuard handshake after wg-quick")

    def down(self) -> None:
        """`wg-quick down`; without effect if it is down."""
        if self._is_up:
            self._is_up = False
            self._run("down")

    def _run(self, verb: str) -> None:
        done = self._client.run("wg-quick", verb, str(self._file))
        if done.returncode != 0:
            raise RuntimeError(f"wg-quick {verb}: {done.stdout}{done.stderr}")

    def _shook_hands(self) -> bool:
        return not _wg("show", INTERFACE, "latest-handshakes").endswith("\t0")


def _wg(*arguments: str, text: str = "") -> str:
    done = subprocess.run(["wg", *arguments], input=text, capture_output=True, text=True, check=True)
    return done.stdout.strip()
