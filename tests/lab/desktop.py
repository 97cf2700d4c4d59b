"""A user's desktop session on the client: a session bus, and dunst, which shows notifications on a screen in memory."""

import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from lab.addresses import NOBODY
from lab.agent import CLI, PACKAGE, Agent
from lab.deadline import until
from lab.process import Process
from lab.topology import Lab

STARTED = 10  # seconds until a program of the session has started; it takes one

# A session bus without service files, so that it starts no program by itself.
BUS = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={folder}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
# dunst asks `dmenu` which action the user wants, and calls `script` for what it shows.
DUNST = """
[global]
    font = Monospace 9
    dmenu = {folder}/choose
[all]
    summary = "*"
    script = {folder}/shown
"""
CHOOSE = '#!/bin/sh\nexec grep -m 1 -- "$(cat {folder}/choice)"\n'
SHOWN = '#!/bin/sh\nprintf "%s\\n%s\\n\\n" "$DUNST_SUMMARY" "$DUNST_BODY" >>{folder}/log\n'


class Desktop:
    """The session, from entering to leaving. Its user is NOBODY, in the groups `groups`."""

    def __init__(self, lab: Lab, *groups: int) -> None:
        self._lab = lab
        self._groups = ",".join(map(str, (NOBODY, *groups)))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stunwall-")))
            self._stack = stack.pop_all()
        try:
            self._write()
            self.bus = self._start(
                "dbus-daemon", f"--config-file={self.folder}/bus.conf", "--nofork", "--nopidfile"
            )
            until((self.folder / "bus").exists, STARTED, "the session bus")
            screen = self._start("Xvfb", "-screen", "0", "800x600x24", "-nolisten", "tcp", "-displayfd", "1")
            until(lambda: any(line.isdecimal() for line in screen.lines), STARTED, "the screen")
            (number,) = (line for line in screen.lines if line.isdecimal())
            self.environment["DISPLAY"] = f":{number}"
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _write(self) -> None:
        texts = {"bus.conf": BUS, "dunstrc": DUNST, "choose": CHOOSE, "shown": SHOWN, "choice": "", "log": ""}
        for name, text in texts.items():
            (self.folder / name).write_text(text.replace("{folder}", str(self.folder)))
            (self.folder / name).chmod(0o755)
        shutil.copytree(PACKAGE, self.folder / "agent")  # the checkout may not be for others to read
        for path in (self.folder, *self.folder.rglob("*")):
            shutil.chown(path, NOBODY, NOBODY)
        self.environment = {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder}/bus",
            "HOME": str(self.folder),
            "PYTHONPATH": str(self.folder / "agent"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPYCACHEPREFIX": "",  # nor may the run's
        }

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a program as the session's user."""
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={self._groups}"]
        return ["env", *(f"{name}={value}" for name, value in self.environment.items()), *user, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The finished program of the session's user."""
        return self._lab.client.run(*self.command(*arguments))

    def _start(self, *arguments: str) -> Process:
        process = Process(self._lab.client, *self.command(*arguments))
        self._stack.callback(process.kill)
        return process

    def show_notifications(self) -> None:
        """Starts dunst."""
        self._start("dunst", "-conf", f"{self.folder}/dunstrc")
        until(lambda: self.dunst("count").returncode == 0, STARTED, "dunst")

    def notify(self, agent: Agent, *options: str) -> Process:
        """Starts `stunwall notify` for a daemon."""
        module = [sys.executable, *agent.command(CLI)[1:]]
        return self._start(*module, "notify", *options)

    def dunst(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The finished `dunstctl`."""
        return self.run("dunstctl", *arguments)

    def emit(self, signal: str, *arguments: str) -> None:
        """Sends a signal of notifications that is not dunst's."""
        name = f"org.freedesktop.Notifications.{signal}"
        sender = ("dbus-send", "--session", "--type=signal")
        assert self.run(*sender, "/org/freedesktop/Notifications", name, *arguments).returncode == 0

    def choose(self, action: str) -> None:
        """Chooses an action of what is shown, by its label, as its user would."""
        (self.folder / "choice").write_text(action)
        assert self.dunst("context").returncode == 0

    @property
    def shown(self) -> list[tuple[str, str]]:
        """Summary and body of each notification so far."""
        notes = (self.folder / "log").read_text().split("\n\n")
        return [(note.partition("\n")[0], note.partition("\n")[2]) for note in notes if note]

    def wait_shown(self, summary: str, seconds: float) -> str:
        """The body of a notification with this summary, once it is there."""
        until(lambda: summary in dict(self.shown), seconds, f"'{summary}' among {self.shown}")
        return dict(self.shown)[summary]
