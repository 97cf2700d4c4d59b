"""systemd/completion/: the real shells offer what the commands accept."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stunwall.presets.table import presets
from unit.test_manual import commands, daemon_parser, options

FOLDER = Path(__file__).parents[2] / "systemd" / "completion"
END = "--- end of a line ---"
# Without the user's settings, and without a command `stunwall`: completion must not run it.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "dumb", "LC_ALL": "C.UTF-8"}

_BASH = r"""
set -f
source "$1"
shift
for line in "$@"; do
    # Split like readline does: `=` is a word of its own.
    COMP_WORDS=(${line//=/ = })
    [[ $line != *[\ =] ]] || COMP_WORDS+=("")
    [[ $line != *= ]] || unset "COMP_WORDS[-1]"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    wanted=$(complete -p "${COMP_WORDS[0]}")
    wanted=${wanted#complete -F }
    set +f
    "${wanted%% *}"
    set -f
    printf '%s\n' "${COMPREPLY[@]}" "--- end of a line ---"
done
"""

# zsh completes each line itself; what it would offer is written to a file.
_ZSH = r"""
PROMPT=READY
fpath=($FOLDER $fpath)
autoload -U compinit
compinit -u -D
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return $?
    fi
    typeset -a hits
    builtin compadd -A hits "$@"
    print -rl -- "${hits[@]}" >>$OUT
    return $(( ! ${#hits} ))
}
offer() {
    local line
    for line in "${(@f)$(<$LINES_FILE)}"; do
        BUFFER=$line
        CURSOR=$#BUFFER
        zle complete-word
        print -r -- "--- end of a line ---" >>$OUT
    done
    exit
}
zle -N offer
bindkey '^T' offer
"""

_FISH = """
source $argv[1]
for line in $argv[2..]
    complete --do-complete $line
    echo "--- end of a line ---"
end
"""


def cut(text: str) -> list[set[str]]:
    """Return what was offered for each line."""
    assert text.endswith(f"{END}\n")
    return [set(filter(None, part.split("\n"))) for part in text.split(f"{END}\n")[:-1]]


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.fail(f"this test needs {shell}: run it by tests/run.sh unit", pytrace=False)


def printed(folder: Path, *command: str) -> str:
    """Return what a shell prints; it must not print errors."""
    environment = _ENVIRONMENT | {"HOME": str(folder)}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def bash(folder: Path, lines: Sequence[str]) -> list[set[str]]:
    program = ["bash", "--norc", "--noprofile", "-c", _BASH, "bash", str(FOLDER / "stunwall.bash")]
    return cut(printed(folder, *program, *lines))


def fish(folder: Path, lines: Sequence[str]) -> list[set[str]]:
    program = ["fish", "--no-config", "-c", _FISH, str(FOLDER / "stunwall.fish")]
    return cut(re.sub(r"\t.*", "", printed(folder, *program, *lines)))  # a description follows the tab


def zsh(folder: Path, lines: Sequence[str]) -> list[set[str]]:
    private = folder / ".zsh"  # hidden, so that it is not offered as a file
    private.mkdir()
    (private / ".zshrc").write_text(_ZSH)
    (private / "lines").write_text("\n".join(lines))
    places = {"ZDOTDIR": private, "FOLDER": FOLDER, "OUT": private / "out", "LINES_FILE": private / "lines"}
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder)
        environment = _ENVIRONMENT | {name: str(place) for name, place in places.items()}
        os.execvpe("zsh", ["zsh", "-d", "-i"], environment)
    shown = _read_until(terminal, b"READY")
    os.write(terminal, b"\x14")  # Ctrl-T
    shown += _read_until(terminal, None)
    os.close(terminal)
    _, code = os.waitpid(child, 0)
    assert code == 0, shown
    return cut((private / "out").read_text())


def _read_until(terminal: int, sign: bytes | None) -> bytes:
    """Return what the program on a terminal prints until `sign`, or until it ends."""
    read = b""
    while sign is None or sign not in read:
        assert select.select([terminal], [], [], 60)[0], read
        try:
            more = os.read(terminal, 4096)
        except OSError:  # EIO: it has ended
            more = b""
        if not more:
            assert sign is None, read
            break
        read += more
    return read


Shell = Callable[[Path, Sequence[str]], list[set[str]]]


@pytest.fixture(params=[bash, zsh, fish])
def shell(request: pytest.FixtureRequest) -> Shell:
    needs(request.param.__name__)
    asked: Shell = request.param
    return asked


def plain(offered: set[str]) -> set[str]:
    """Return the options without the `=` that some shells add."""
    return {word.removesuffix("=") for word in offered}


def arguments(offered: set[str]) -> set[str]:
    """Return what is offered, without options, which zsh offers if nothing else fits."""
    return {word for word in offered if not word.startswith("-")}


def test_each_command_offers_its_own_options(shell: Shell, tmp_path: Path) -> None:
    paths = list(commands())
    found = shell(tmp_path, [f"stunwall {path} -".replace("  ", " ") for path in paths])
    for path, offered in zip(paths, found, strict=True):
        names = {name for option, _ in options(commands()[path]) for name in option}
        assert plain(offered) == names | {"--help"}, path


def test_each_group_offers_its_commands(shell: Shell, tmp_path: Path) -> None:
    paths = [path.split() for path in commands() if path]
    groups = sorted({path[0] for path in paths if len(path) > 1})
    first, *others = shell(tmp_path, ["stunwall ", *(f"stunwall {group} " for group in groups)])
    assert first == {path[0] for path in paths}
    for group, offered in zip(groups, others, strict=True):
        assert offered == {path[1] for path in paths if path[0] == group and len(path) > 1}


def test_the_options_of_the_daemon_are_offered(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {name for action in daemon_parser(monkeypatch)._actions for name in action.option_strings}
    assert plain(shell(tmp_path, ["stunwalld -"])[0]) == there


def test_values_are_offered_after_their_options(shell: Shell, tmp_path: Path) -> None:
    protocol, joined, interface, user, since, pause = shell(
        tmp_path,
        [
            "stunwall allow add --protocol ",
            "stunwall allow add --why x --protocol=",
            "stunwall allow add --interface ",
            "stunwall allow add --user ",
            "stunwall log --since ",
            "stunwall pause ",
        ],
    )
    assert protocol == {"udp", "tcp"}
    assert {word.removeprefix("--protocol=") for word in joined} == {"udp", "tcp"}
    assert "lo" in interface
    assert "root" in user
    assert {"30m", "2h", "7d"} <= since
    assert {"30m", "2h"} <= pause


def test_the_presets_are_offered(shell: Shell, tmp_path: Path) -> None:
    names, begun = shell(tmp_path, ["stunwall allow preset ", "stunwall allow preset --dry-run tail"])
    assert names == {"list", *presets()}
    assert begun == {"tailscale"}


def test_offered_values_are_valid(shell: Shell, tmp_path: Path) -> None:
    since, pause = shell(tmp_path, ["stunwall log --since ", "stunwall pause "])
    assert all(re.fullmatch(r"\d+[smhdw]", word) for word in since)
    assert all(re.fullmatch(r"\d+[smh]", word) for word in pause)


def test_files_are_offered_where_a_file_is_expected(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    lines = ["stunwall --config ", "stunwall config check ", "stunwalld --config "]
    assert shell(tmp_path, lines) == [{"mine.toml"}] * 3


def test_nothing_is_offered_for_values_that_only_the_user_knows(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    lines = [
        "show ",
        "allow remove ",
        "allow add --why ",
        "allow add --port ",
        "log -n ",
        "log --limit ",
        "status ",
    ]
    found = shell(tmp_path, [f"stunwall {line}" for line in lines])
    assert [arguments(offered) for offered in found] == [set()] * len(lines)


def test_values_of_options_are_not_taken_for_commands(shell: Shell, tmp_path: Path) -> None:
    lines = [
        "stunwall --config log r",
        "stunwall --config=log r",
        "stunwall log -n 5 --fol",
        "stunwall log --since 2h --fol",
        "stunwall pause 10m ",
        "stunwall lo",
    ]
    commands_, joined, follow, again, after, begun = shell(tmp_path, lines)
    assert commands_ == joined == {"report", "rules", "resume", "reload"}
    assert follow == again == {"--follow"}
    assert arguments(after) == set()
    assert begun == {"log"}


def test_completion_runs_neither_stunwall_nor_stunwalld(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("stunwall", "stunwalld"):
        (programs / name).write_text(f"#!/bin/sh\n: >{shlex.quote(str(tmp_path / 'started'))}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setitem(_ENVIRONMENT, "PATH", f"{programs}:{_ENVIRONMENT['PATH']}")
    assert subprocess.run(["stunwall"], env=_ENVIRONMENT, check=False).returncode == 0
    assert (tmp_path / "started").exists()
    (tmp_path / "started").unlink()
    shell(tmp_path, ["stunwall ", "stunwall show ", "stunwall allow add --unit ", "stunwall log --since "])
    assert not (tmp_path / "started").exists()
