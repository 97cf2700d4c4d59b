"""IPsec by strongSwan: in the machine over Linux's own, by policies alone or with an interface, and a gateway outside.

The gateway encrypts in user space, as the machine that runs the tests may have no IPsec. Its programs come from the
image's root file system, so that nothing is installed for it.
"""

import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET

from lab.addresses import PHYSICAL, VPN_SERVER
from lab.deadline import until
from lab.namespace import Namespace
from lab.process import Process
from vm.early import SLOW
from vm.image import Image
from vm.machine import Machine

INTERFACE = "xfrm0"
ID = 42
"""Of the interface: if_id in ip-link(8) and swanctl.conf(5)."""
TABLE, PREFERENCE = 42, 1000
"""Of the routes to the interface, and of the rules that lead to them."""

SUITE = "aes128-sha256-modp2048"
ALL = "0.0.0.0/0, ::/0"
SECRETS = """
secrets {
    ike {
        secret = 0sbm90IGEgc2VjcmV0
    }
}
"""

# strongswan.conf(5), swanctl.conf(5)
GATEWAY = """
charon-systemd {
    load = random nonce aes sha1 sha2 hmac kdf gmp drbg socket-default kernel-libipsec kernel-netlink vici
    filelog {
        stdout {
            default = 1
        }
    }
}
"""
GATEWAY_CONNECTIONS = f"""
connections {{
    lab {{
        version = 2
        proposals = {SUITE}
        pools = four, six
        local {{
            auth = psk
            id = gateway
        }}
        remote {{
            auth = psk
            id = machine
        }}
        children {{
            all {{
                local_ts = {ALL}
                esp_proposals = {SUITE}
            }}
        }}
    }}
}}
pools {{
    four {{
        addrs = 10.10.0.0/24
    }}
    six {{
        addrs = fd10::/120
    }}
}}
{SECRETS}
"""
NAT = """
table inet lab_ipsec {
    chain postrouting {
        type nat hook postrouting priority srcnat
        ip saddr 10.10.0.0/24 oifname "eth0" masquerade
        ip6 saddr fd10::/120 oifname "eth0" masquerade
    }
}
"""

MACHINE_CONNECTIONS = f"""
connections {{
    lab {{
        version = 2
        proposals = {SUITE}
        remote_addrs = {VPN_SERVER[AF_INET]}
        vips = 0.0.0.0, ::
        if_id_in = @if_id@
        if_id_out = @if_id@
        local {{
            auth = psk
            id = machine
        }}
        remote {{
            auth = psk
            id = gateway
        }}
        children {{
            all {{
                remote_ts = {ALL}
                esp_proposals = {SUITE}
            }}
        }}
    }}
}}
{SECRETS}
"""
# The interface has the routes, so strongSwan shall make none.
ROUTED = f"""
charon-systemd {{
    install_routes = no
    install_virtual_ip_on = {INTERFACE}
}}
"""


class Gateway:
    """The other end, at VPN_SERVER, from the constructor until close()."""

    def __init__(self, server: Namespace, image: Image) -> None:
        with ExitStack() as stack:
            # A view of the root file system; what is written there goes to memory. Its contents are never removed.
            self._root = Path(tempfile.mkdtemp(prefix="stunwall-gateway-"))
            stack.callback(self._root.rmdir)
            _mount(stack, self._root, "-o", "bind,ro", str(image.folder / "root"))
            _mount(stack, self._root / "run", "-t", "tmpfs", "none")
            _mount(stack, self._root / "dev", "--bind", "/dev")
            (self._root / "run/strongswan.conf").write_text(GATEWAY)
            (self._root / "run/connections.conf").write_text(GATEWAY_CONNECTIONS)
            server.nft(NAT)
            stack.callback(server.nft, "delete table inet lab_ipsec")
            command = ("chroot", str(self._root), "/usr/sbin/charon-systemd")
            self._charon = Process(server, *command, env={"STRONGSWAN_CONF": "/run/strongswan.conf"})
            stack.callback(self._charon.stop)
            until((self._root / "run/charon.vici").exists, 20, "strongSwan's socket")
            self._control("--load-all", "--noprompt", "--file", "/run/connections.conf")
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def _control(self, *arguments: str) -> None:
        command = ["chroot", str(self._root), "swanctl", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(
                f"swanctl {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self._charon.output}"
            )


def _mount(stack: ExitStack, where: Path, *what: str) -> None:
    subprocess.run(["mount", *what, str(where)], check=True)
    stack.callback(subprocess.run, ["umount", str(where)], check=True)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The machine's end; `routed`: an interface of its own has the default route, else there are policies alone."""

    machine: Machine
    routed: bool

    def configure(self) -> None:
        """Starts strongSwan; nothing is encrypted yet."""
        connections = MACHINE_CONNECTIONS.replace("@if_id@", str(ID if self.routed else 0))
        self.machine.run("tee", "/etc/swanctl/conf.d/lab.conf", text=connections)
        if self.routed:
            self.machine.run("tee", "/etc/strongswan.d/lab.conf", text=ROUTED)
            self._ip(f"link add {INTERFACE} type xfrm dev {PHYSICAL} if_id {ID}")
            self._ip(f"link set {INTERFACE} up")
            self._ip(f"-4 rule add not to {VPN_SERVER[AF_INET]} lookup {TABLE} pref {PREFERENCE}")
            self._ip(f"-6 rule add lookup {TABLE} pref {PREFERENCE}")
        self.machine.run("systemctl", "start", "strongswan", seconds=SLOW)

    def up(self) -> None:
        """Returns once both ends have agreed, and all but their own packets are encrypted."""
        self.machine.run("swanctl", "--initiate", "--child", "all", seconds=SLOW)
        if self.routed:
            for version in ("-4", "-6"):
                self._ip(f"{version} route add default dev {INTERFACE} table {TABLE}")

    def down(self) -> None:
        if self.routed:
            for version in ("-4", "-6"):
                self._ip(f"{version} route flush table {TABLE}")
        self.machine.run("swanctl", "--terminate", "--ike", "lab", seconds=SLOW)

    def _ip(self, command: str) -> None:
        self.machine.run("ip", *command.split())
