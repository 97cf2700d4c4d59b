"""The image of systemd/docker/, run as `docker run` does with the options in systemd/README.md, on the lab's client.

Its own command runs in its own file system, which is read-only but for its volumes, with two capabilities and the
host's network.
"""

import json
import subprocess
from socket import AF_INET

from container.image import configuration, folder
from lab.addresses import COTURN, FAMILIES, PHYSICAL, VPN_SERVER
from lab.agent import wall_is_up
from lab.leaks import DEVICE
from lab.messages import REFUSED, binding_request, error_code
from lab.observe import address_seen, assert_leaks, wait_passes
from lab.probe import DEVICE_BOUND, connect, send
from lab.process import Process
from lab.topology import Lab
from lab.wire import Wire

RUN = """
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t tmpfs none "$1/run"
mount -t tmpfs none "$1/var/lib/stunwall"
mount -t tmpfs none "$1/etc/stunwall"
mount -t proc none "$1/proc"
root=$1
shift
exec chroot "$root" setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+net_admin,+net_raw "$@"
"""
READY = 30


def command(*arguments: str) -> list[str]:
    return ["unshare", "--mount", "sh", "-ec", RUN, "sh", str(folder() / "root"), *arguments]


def in_container(lab: Lab, daemon: Process, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `docker exec` runs."""
    enter = ("nsenter", f"--target={daemon.pid}", "--mount", "--root", "--wd=/")
    return lab.client.run(*enter, *arguments)


def leak(lab: Lab, nonce: bytes) -> None:
    with connect(lab.client, COTURN[AF_INET], DEVICE_BOUND) as sock:
        send(sock, binding_request(nonce))


def test_the_container_guards_its_host_and_leaves_the_wall_until_it_is_taken_down(lab: Lab) -> None:
    image = configuration()
    start = [*image["Entrypoint"], *image["Cmd"]]
    lab.vpn.up(ipv6=True)
    assert_leaks(lab, lambda nonce: leak(lab, nonce))
    daemon = Process(lab.client, *command(*start))
    try:
        daemon.wait_line("ready", READY)
        wait_passes(lab)
        with Wire(lab) as wire:
            for family in FAMILIES:
                for kind in DEVICE.kinds:
                    assert error_code(DEVICE.ask(lab, family, kind, binding_request())) == REFUSED
            assert not wire.stun()
        healthy = image["Healthcheck"]["Test"]
        assert healthy[0] == "CMD"
        shown = in_container(lab, daemon, *healthy[1:])
        assert shown.returncode == 0, shown.stdout + shown.stderr
        listed = in_container(lab, daemon, "stunwall", "log", "--json").stdout.splitlines()
        assert {json.loads(line)["interface"] for line in listed} == {PHYSICAL}
        assert daemon.stop() == 0
        assert wall_is_up(lab)
        with Wire(lab) as wire:
            assert address_seen(lab, binding=DEVICE_BOUND, seconds=0.5) is None
            assert address_seen(lab) == VPN_SERVER[AF_INET]
            assert not wire.stun()
    finally:
        daemon.kill()
        down = lab.client.run(*command(*image["Entrypoint"], "--take-down"))
    assert down.returncode == 0, down.stderr
    assert not wall_is_up(lab)
    assert_leaks(lab, lambda nonce: leak(lab, nonce))
