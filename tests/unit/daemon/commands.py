"""Commands in a real configuration folder, for the tests; the kernel's part is a stub."""

from pathlib import Path
from typing import Any, cast

from stunwall.config import Config
from stunwall.configfile import reader
from stunwall.configfile.drop_in import NAME as DROP_IN
from stunwall.control.held import Hold
from stunwall.control.peer import Peer
from stunwall.control.prompts import Author
from stunwall.daemon.commands import Commands
from stunwall.daemon.proofs import CheckResults, Proofs
from stunwall.wall.nft import Nft
from stunwall.wall.pause import Pause

ROOT, MEMBER, GUEST = Peer(0, True), Peer(1000, True), Peer(1000, False)
NFT = cast(Nft, None)  # nothing is loaded
PORT = {"port": 3478, "why": "a test"}


class Served:
    """Commands in a folder, and what they told the daemon."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "stunwall.toml"
        self.drop_in = folder / "conf.d" / DROP_IN
        self.file.touch()
        self.configured: list[Config] = []
        self.recorded: list[tuple[str, str]] = []
        self.authors: list[tuple[int, str]] = []
        self.checked: list[int] = []
        self.refusal: Exception | None = None
        self.cgroups: list[list[str] | None] = []
        self.restart()

    def restart(self) -> None:
        """Begin anew with what is on the disk."""
        loaded = reader.load(self.file)
        self.asked = 0  # how often the status was made
        pause, cgroups = Pause(NFT), lambda: self.cgroups
        self.basis, self.open, self.sealed = 1, False, 0
        results = CheckResults(Proofs(lambda: self.basis), lambda: self.open, self._sealed)
        self.commands = Commands(
            self.file,
            loaded,
            pause,
            self._configure,
            self._note,
            self._status,
            cgroups,
            self._check,
            results,
        )

    def _sealed(self) -> None:
        self.sealed += 1

    def _check(self, uid: int) -> Hold:
        self.checked.append(uid)
        return Hold({}, lambda send, hang_up: None, lambda: None)

    def _status(self) -> dict[str, Any]:
        self.asked += 1
        return {"state": "protected"}

    def _note(self, verdict: str, reason: str, by: Author) -> None:
        self.recorded.append((verdict, reason))
        self.authors.append((by.uid, by.user))

    def _configure(self, settings: Config) -> None:
        if self.refusal:
            raise self.refusal
        self.configured.append(settings)

    def ask(self, command: str, peer: Peer = ROOT, **given: Any) -> dict[str, Any]:
        reply = self.commands.answer({"command": command} | given, peer)
        assert isinstance(reply, dict)
        return reply

    def add(self, **rule: Any) -> dict[str, Any]:
        return self.ask("allow-add", rule=rule)

    def also(self, name: str, *ports: int) -> None:
        """Another file of the user's."""
        self.drop_in.parent.mkdir(exist_ok=True)
        text = "".join(f'[[allow]]\nport = {port}\nwhy = "mine"\n' for port in ports)
        (self.drop_in.parent / name).write_text(text)
        self.restart()

    def files(self) -> dict[str, bytes]:
        """Everything on the disk."""
        found = (file for file in self.file.parent.rglob("*") if file.is_file())
        return {str(file.relative_to(self.file.parent)): file.read_bytes() for file in found}
