"""Ansible, as an administrator runs it: from the other end of the machine's cable, by SSH as root."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET
from typing import Any

from lab.addresses import CLIENT
from lab.deadline import PATIENCE
from lab.namespace import Namespace
from vm.machine import Machine
from vm.package import ROOT

ROLES = ROOT / "systemd/ansible/roles"
HOST_KEY = "/run/host-key"
SECONDS = 900 * PATIENCE  # an installation takes minutes of an emulated processor
CONNECTION = "/run/ssh-to-machine"
# One SSH connection for all tasks; without sftp, which dropbear lacks.
SETTINGS = f"""
[defaults]
roles_path = {ROLES}
inventory = hosts
nocows = true
[ssh_connection]
pipelining = true
transfer_method = piped
ssh_args = -o ControlMaster=auto -o ControlPersist=600s -o ControlPath={CONNECTION} -o IdentitiesOnly=yes
    -o UserKnownHostsFile=known_hosts
"""
HOSTS = (
    f"machine ansible_host={CLIENT[AF_INET]} ansible_user=root ansible_ssh_private_key_file=key "
    "ansible_python_interpreter=/usr/bin/python3\n"
)


@dataclass(frozen=True, slots=True)
class Played:
    """A run of the role."""

    code: int
    output: str

    @property
    def recap(self) -> dict[str, int]:
        """How many tasks were ok, changed, failed …, as the last line says."""
        line = self.output.rpartition("PLAY RECAP")[2]
        return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}

    @property
    def changed(self) -> list[str]:
        """The names of the tasks and handlers that changed something."""
        tasks = re.split(r"^(?:TASK|RUNNING HANDLER) \[stunwall : ", self.output, flags=re.M)[1:]
        return [task.partition("]")[0] for task in tasks if re.search(r"^changed: ", task, re.M)]


class Administrator:
    """Another machine, with Ansible and the role."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self._namespace, self._folder = namespace, folder

    def play(self, *options: str, **variables: Any) -> Played:
        """Applies the role with these variables; prints all that Ansible says."""
        role = {"role": "stunwall", **variables}
        play = [{"hosts": "all", "gather_facts": False, "roles": [role]}]
        (self._folder / "play.yml").write_text(json.dumps(play))
        command = self._namespace.command("ansible-playbook", *options, "play.yml")
        # Ansible's own Python: it neither needs nor gets what the tests' one has.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = kept | {"HOME": str(self._folder), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
        # Not by pipes: what it has said shall be seen also if it takes too long, and its SSH connection stays open.
        said = self._folder / "said"
        with said.open("w") as file:
            try:
                done = subprocess.run(
                    command,
                    cwd=self._folder,
                    env=environment,
                    stdout=file,
                    stderr=file,
                    timeout=SECONDS,
                    check=False,
                )
            finally:
                print(said.read_text(), flush=True)
        return Played(done.returncode, said.read_text())


@contextmanager
def administrator(namespace: Namespace, machine: Machine, folder: Path) -> Iterator[Administrator]:
    """Whom the machine lets in by SSH for the duration of the block."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    key = (folder / "key.pub").read_text()
    machine.run("sh", "-c", "mkdir -p -m 700 ~root/.ssh && cat >~root/.ssh/authorized_keys", text=key)
    said = machine.run("dropbearkey", "-t", "ed25519", "-f", HOST_KEY)
    (public,) = re.findall(r"^ssh-ed25519 \S+", said, re.M)
    (folder / "known_hosts").write_text(f"{CLIENT[AF_INET]} {public}\n")
    (folder / "ansible.cfg").write_text(SETTINGS)
    (folder / "hosts").write_text(HOSTS)
    server = machine.start("dropbear", "-F", "-E", "-s", "-r", HOST_KEY)
    try:
        yield Administrator(namespace, folder)
    finally:
        # dropbear's output has its end only when the connection has ended, too.
        subprocess.run(["ssh", "-o", f"ControlPath={CONNECTION}", "-O", "exit", "machine"], check=False)
        server.stop()
