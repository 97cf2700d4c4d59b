"""The configuration file that is installed: every key is commented out, and shows its default."""

import re
from pathlib import Path

from stunwall.config import Config
from stunwall.configfile.reader import load

FILE = Path(__file__).parents[3] / "systemd" / "stunwall.toml"


def uncommented() -> str:
    # A key or a table behind its # at once; prose has a space there.
    return re.sub(r"(?m)^#(?=[\w\[])", "", FILE.read_text())


def test_as_installed_it_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "stunwall.toml").write_text(FILE.read_text())
    assert load(tmp_path / "stunwall.toml") == Config()


def test_what_it_shows_are_the_defaults_and_valid_exceptions(tmp_path: Path) -> None:
    text = uncommented()
    (tmp_path / "stunwall.toml").write_text(text)
    shown = load(tmp_path / "stunwall.toml")
    assert len(shown.allow) == text.count("[[allow]]") == 4
    assert shown == Config(allow=shown.allow)
    keys = set(re.findall(r"(?m)^(\w+) = ", text))
    assert {"mode", "allow_lan", "mark_mask", "status_for_all", "keep_rows", "unit"} <= keys
