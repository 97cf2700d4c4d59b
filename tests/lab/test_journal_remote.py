"""The journal's fields on a second machine: a real journald, systemd-journal-upload and systemd-journal-remote."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM

import pytest

from lab.addresses import CLIENT, COTURN, PHYSICAL, STUN_SERVER
from lab.agent import Agent
from lab.deadline import until
from lab.leaks import DEVICE
from lab.messages import binding_request
from lab.process import Process
from lab.topology import Lab
from stunwall.model import Reason
from stunwall.reasons import EXPLANATIONS

PROGRAMS = Path("/lib/systemd")
PORT = 19532  # systemd-journal-remote's
NAMESPACE = "lab"  # of journald: without one it would read the kernel's log
RUN = Path("/run/systemd")  # of the tests alone
SECONDS = 20  # until a program has started or an entry arrived; each takes one at most


@pytest.fixture
def journald() -> Iterator[Path]:
    """A journald where the daemon looks for it; the folder of its files."""
    settings = RUN / f"journald@{NAMESPACE}.conf.d" / "lab.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("[Journal]\nStorage=volatile\n")
    (RUN / "journal").symlink_to(f"journal.{NAMESPACE}")
    # Not by `ip netns exec`, which hides the cgroups, without which it ends.
    process = subprocess.Popen([f"{PROGRAMS}/systemd-journald", NAMESPACE])
    until((RUN / "journal/socket").exists, SECONDS, "journald")
    machine = Path("/etc/machine-id").read_text().strip()
    yield Path(f"/run/log/journal/{machine}.{NAMESPACE}")
    process.kill()
    process.wait()
    (RUN / "journal").unlink()


def test_an_entry_has_its_fields_on_a_second_machine(
    lab: Lab, vpn: None, journald: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    received = tmp_path / "remote.journal"
    remote = (f"--listen-http={STUN_SERVER[AF_INET]}:{PORT}", f"--output={received}", "--split-mode=none")
    upload = (
        *(f"--url=http://{STUN_SERVER[AF_INET]}:{PORT}", f"--directory={journald}"),
        f"--save-state={tmp_path}/sent",
    )

    def entries() -> list[dict[str, str]]:
        chosen = f"STUNWALL_REASON={Reason.OUTSIDE_VPN}"
        said = lab.stun.run("journalctl", f"--file={received}", chosen, "--output=json").stdout
        return [json.loads(line) for line in said.splitlines()]

    with ExitStack() as stack, Agent(lab):
        DEVICE.ask(lab, AF_INET, SOCK_DGRAM, binding_request())
        until(journald.exists, SECONDS, "the journal's files")
        for machine, name, options in (
            (lab.stun, "systemd-journal-remote", remote),
            (lab.client, "systemd-journal-upload", upload),
        ):
            stack.callback(Process(machine, f"{PROGRAMS}/{name}", *options).kill)
            until(received.exists, SECONDS, "systemd-journal-remote")
        until(entries, SECONDS, "the entry on the second machine")
        (entry,) = entries()
    expected = {
        "MESSAGE_ID": next(each for each in EXPLANATIONS if each.code == Reason.OUTSIDE_VPN).message_id,
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "stunwalld",
        "STUNWALL_VERDICT": "blocked",
        "STUNWALL_PROTOCOL": "stun",
        "STUNWALL_SOURCE": CLIENT[AF_INET],
        "STUNWALL_DESTINATION": COTURN[AF_INET][0],
        "STUNWALL_DESTINATION_PORT": str(COTURN[AF_INET][1]),
        "STUNWALL_INTERFACE": PHYSICAL,
    }
    assert {name: entry[name] for name in expected} == expected
    assert entry["MESSAGE"].startswith("blocked stun Binding over udp from ")
