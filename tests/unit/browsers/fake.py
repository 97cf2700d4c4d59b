"""A file system with browsers and users in it, below a folder."""

import json
from pathlib import Path

from stunwall.browsers.machine import Home, Machine
from stunwall.browsers.table import read

TABLE = read("x86_64")


class Fake:
    """The file system. Its users belong to whoever runs the test, as only root can change that."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.homes: list[Home] = []

    def write(self, path: str, content: object = "") -> Path:
        """Write a text, or JSON of anything else."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def install(self, *names: str) -> None:
        """Install browsers by name and package, such as `chromium system`."""
        for name in names:
            browser, package = name.split()
            row = next(each for each in TABLE.browsers if (each.browser, each.package) == (browser, package))
            place = next(each for each in row.present if not each.startswith("{user}"))
            self.write(place) if not place.endswith("current") else self.write(f"{place}/x")

    def user(self, name: str) -> Home:
        home = Home(name, self.root.stat().st_uid, self.root / "home" / name)
        home.folder.mkdir(parents=True)
        self.homes.append(home)
        return home

    def process(self, pid: int, executable: str, *arguments: str) -> None:
        self.write(f"proc/{pid}/cmdline", "\0".join(["x", *arguments, ""]))
        self.write(f"proc/{pid}/comm", f"{Path(executable).name[:15]}\n")
        (self.root / f"proc/{pid}/exe").symlink_to(executable)

    @property
    def machine(self) -> Machine:
        return Machine(self.root, tuple(self.homes), TABLE)
