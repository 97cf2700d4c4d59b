"""A system bus with a real polkitd, in the tests' own mount namespace, and the rules of its administrator."""

import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from lab.deadline import until
from lab.process import Process
from lab.topology import Lab

POLICY = Path(__file__).parents[2] / "systemd" / "org.stunwall.policy"
SOCKET = Path("/run/dbus/system_bus_socket")  # /run is the run's own
STARTED = 10  # seconds until a program has started; it takes one
NAME = "org.freedesktop.PolicyKit1"

# The rights of Debian's, but no services that it could start.
BUS = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf</include>
</busconfig>
"""


class SystemBus:
    """The bus, from entering to leaving. polkitd is on it if there are `rules`, in JavaScript; "" are none."""

    FOLDER = Path("/run/system-bus")

    def __init__(self, lab: Lab, rules: str | None = None) -> None:
        self._lab = lab
        self._rules = rules

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = self.FOLDER
            folder.mkdir()
            stack.callback(shutil.rmtree, folder)
            SOCKET.parent.mkdir(exist_ok=True)
            (folder / "bus.conf").write_text(BUS)
            bus = ("dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--nopidfile")
            stack.callback(Process(self._lab.client, *bus).kill)
            stack.callback(SOCKET.unlink, missing_ok=True)
            until(SOCKET.exists, STARTED, "the system bus")
            if self._rules is not None:
                self._start_polkit(folder, self._rules, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_polkit(self, folder: Path, rules: str, stack: ExitStack) -> None:
        """Start polkitd, which knows our policy and these rules alone."""
        for name, target in (
            ("actions", "/usr/share/polkit-1/actions"),
            ("rules.d", "/etc/polkit-1/rules.d"),
        ):
            (folder / name).mkdir()
            subprocess.run(["mount", "--bind", folder / name, target], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", target], check=True)
        shutil.copy(POLICY, folder / "actions")
        (folder / "rules.d" / "50-lab.rules").write_text(rules)
        polkitd = Process(self._lab.client, "/usr/lib/polkit-1/polkitd", "--no-debug")
        stack.callback(polkitd.kill)
        until(self._has_polkit, STARTED, "polkitd")

    def _has_polkit(self) -> bool:
        asked = ("dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/")
        method = ("org.freedesktop.DBus.NameHasOwner", f"string:{NAME}")
        return "true" in subprocess.run([*asked, *method], capture_output=True, text=True).stdout
