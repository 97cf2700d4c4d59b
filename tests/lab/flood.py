"""The program that floods: flood.c, which says what it takes."""

import subprocess
from pathlib import Path


def build(folder: Path) -> Path:
    """The program, built into a folder from which every user may run it."""
    program = folder / "flood"
    folder.parent.chmod(0o755)
    source = Path(__file__).with_name("flood.c")
    subprocess.run(["gcc", "-O2", "-o", str(program), str(source)], check=True)
    return program
