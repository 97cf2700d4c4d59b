"""Configuration files that a stranger wrote: read and usable, or an error that names file and line."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stunwall.config import ALLOW_FIELDS, Config
from stunwall.configfile import reader
from stunwall.configfile.errors import ConfigError
from stunwall.configfile.values import ALLOW_KEYS, KEYS, LOG_KEYS
from stunwall.wall import table
from stunwall.wall.contents import Contents
from stunwall.wall.nft import Nft
from unit.damage import damaged

DEFAULT = (Path(__file__).parents[3] / "systemd" / "stunwall.toml").read_text()
# Every value that the file shows, in force.
FULL = re.sub(r"^#(?=[a-z_]+ = |\[)", "", DEFAULT, flags=re.M).encode()
ALLOW = b'[[allow]]\nwhy = "x"\nto = "10.0.0.0/8"\nport = 1\nprotocol = "udp"\nuser = 0\nunit = "a.service"\n'

_NUMBERS = st.one_of(st.integers(-2, 70000), st.sampled_from([2**31, 2**32 - 2, 2**32 - 1, 2**63])).map(str)
_WORDS = st.sampled_from(
    [
        *("block", "redirect", "answer", "drop", "allow", "udp", "tcp", "root", "eth0", "wg*", "*", "a" * 16),
        *("10.0.0.0/8", "10.0.0.1/8", "2001:db8::/32", "::", "0.0.0.0/0", "fe80::1%eth0", "::ffff:1.2.3.4"),
        *("a.service", "user.slice/user-1000.slice", "../x", "a@b.service", "a\\\\x2db.scope", "52:54:00:12:34:56"),
        *("/run/x", "", " ", "\\u202e", "\\n", '\\" }', "$x", "; flush ruleset", "\\u0000"),
    ]
)  # fmt: skip
_STRINGS = _WORDS.map(lambda word: f'"{word}"')
_ATOMS = st.one_of(
    _NUMBERS,
    _STRINGS,
    st.sampled_from(["true", "false", "0x90000000", "1.5", "nan", "1979-05-27", "9" * 4400, "{}"]),
)
_VALUES = st.one_of(_ATOMS, st.lists(_ATOMS, max_size=3).map(lambda some: f"[{', '.join(some)}]"))
_KEYS = st.sampled_from([*KEYS, *LOG_KEYS, *ALLOW_KEYS, "allow", "log", "modes", '"a b"', '"\\u202e"'])
_LINES = st.one_of(
    st.builds(lambda key, value: f"{key} = {value}", _KEYS, _VALUES),
    st.sampled_from(["[log]", "[[allow]]", '[[allow]]\nwhy = "x"', "", "# x", "[other]"]),
)


def loaded(file: Path) -> Config | ConfigError:
    try:
        return reader.load(file)
    except ConfigError as error:
        return error


@given(
    st.one_of(
        damaged([FULL, ALLOW, FULL + ALLOW]), st.lists(_LINES, max_size=6).map("\n".join).map(str.encode)
    )
)
def test_a_file_is_read_or_its_error_names_it_and_says_what_is_wrong(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "stunwall.toml"
    file.write_bytes(text)
    read = loaded(file)
    if isinstance(read, ConfigError):
        assert str(read).startswith(str(file))
        assert str(read).isprintable()
        assert len(str(read)) < 1000


@given(st.lists(_LINES, max_size=5), _KEYS.filter(lambda key: "\\" not in key), _VALUES)
def test_the_error_about_a_value_names_its_line(
    tmp_path: Path, before: list[str], key: str, value: str
) -> None:
    file = tmp_path / "stunwall.toml"
    file.write_text("\n".join(before))
    if isinstance(loaded(file), ConfigError):
        return
    lines = "\n".join([*before, f"{key} = {value}"])
    file.write_text(lines + "\n")
    read = loaded(file)
    if isinstance(read, ConfigError) and "thousands of digits, or" not in str(read):
        named = re.search(r"line (\d+)", str(read))
        assert named is not None, str(read)
        # An [[allow]] that the new key spoils is named as a whole.
        if not any(line.startswith("[") for line in before):
            assert int(named[1]) == lines.count("\n") + 1, str(read)


@given(st.lists(_LINES, max_size=8).map("\n".join))
@example('[[allow]]\nwhy = "x"\nunit = "block"')
def test_whatever_is_read_the_kernel_takes(lab: None, nft: Nft, unit: str, tmp_path: Path, text: str) -> None:
    """An exception is written into a rule as it stands."""
    file = tmp_path / "stunwall.toml"
    file.write_text(text)
    config = loaded(file)
    if isinstance(config, ConfigError):
        return
    cgroups = {rule: ((unit, unit.count("/") + 1),) for rule in config.allow if rule.by_program}
    contents = Contents(vpn=frozenset(), guard_ports=config.guard_ports, allow=config.allow, cgroups=cgroups)
    table.load(nft, contents, config.mark_mask)


@pytest.mark.parametrize("key", [*KEYS, "keep_days", *ALLOW_FIELDS])
def test_the_seed_has_every_key(key: str) -> None:
    assert key.encode() in FULL
