"""WireGuard brought up by wg-quick, with wg-quick's own rules, routes, firewall table and sysctl."""

import tempfile
from pathlib import Path
from socket import AF_INET, AF_INET6

from lab.addresses import VPN_PORT, VPN_SERVER
from lab.namespace import Namespace
from lab.wireguard import SERVER_INTERFACE, wait_handshake, wg

INTERFACE = "wgq0"
ADDRESS = {AF_INET: "10.9.0.3", AF_INET6: "fd09::3"}


class Account:
    """A client registered with the lab's WireGuard server, from the constructor until close()."""

    def __init__(self) -> None:
        key = wg("genkey")
        self._public = wg("pubkey", text=key)
        addresses = f"{ADDRESS[AF_INET]}/32, {ADDRESS[AF_INET6]}/128"
        wg("set", SERVER_INTERFACE, "peer", self._public, "allowed-ips", addresses.replace(" ", ""))
        self.config = (
            f"[Interface]\nAddress = {addresses}\nPrivateKey = {key}\n"
            f"[Peer]\nPublicKey = {wg('show', SERVER_INTERFACE, 'public-key')}\n"
            f"Endpoint = {VPN_SERVER[AF_INET]}:{VPN_PORT}\n"
            "AllowedIPs = 0.0.0.0/0, ::/0\nPersistentKeepalive = 25\n"
        )
        """wg-quick's configuration file (wg-quick(8)): both families go through the VPN."""

    def close(self) -> None:
        wg("set", SERVER_INTERFACE, "peer", self._public, "remove")


class WgQuick:
    """A second client of the lab's WireGuard server, for use while the lab's own is down."""

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
        wait_handshake(INTERFACE)

    def down(self) -> None:
        """`wg-quick down`; has no effect if it is down."""
        if self._is_up:
            self._is_up = False
            self._run("down")

    def _run(self, verb: str) -> None:
        done = self._client.run("wg-quick", verb, str(self._file))
        if done.returncode != 0:
            raise RuntimeError(f"wg-quick {verb}: {done.stdout}{done.stderr}")
