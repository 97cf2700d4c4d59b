"""systemd/man/: the manual pages describe exactly what the code does, and can be printed."""

import argparse
import ast
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from stunwall import config, judge, reasons
from stunwall.cli import explanation, filters, log, report, status
from stunwall.cli.app import app
from stunwall.config import EXCEPTION_KEYS, Config
from stunwall.configfile import reader
from stunwall.configfile.errors import ConfigError
from stunwall.configfile.values import ALLOW_KEYS, KEYS, LOG_KEYS
from stunwall.daemon import main
from stunwall.daemon import status as daemon_status
from stunwall.doctor import checks
from stunwall.doctor.findings import Finding, Result
from stunwall.model import EXPOSED, GAP, LEAK, Event, Reason, Verdict
from stunwall.vpn.cause import Cause
from unit.recorded import event

ROOT = Path(__file__).parents[2]
PAGES = {name: ROOT / "systemd" / "man" / name for name in ("stunwall.1", "stunwalld.8", "stunwall.toml.5")}
AGENT = sorted((ROOT / "agent" / "stunwall").rglob("*.py"))
QUOTES = {"Dq": '"', "Ql": "'", "Sq": "'"}

Option = tuple[frozenset[str], bool]  # its names, and whether it takes a value


def commands() -> dict[str, Any]:
    """The program itself as "", then each command that does something, such as "log" or "allow add"."""
    program = get_command(app)
    return {"": program} | dict(_leaves(program, ()))


def _leaves(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.params:  # it does something by itself
                yield " ".join((*path, name)), command
            yield from _leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def options(command: Any) -> dict[Option, Any]:
    """The options of a command, without `--help`."""
    return {
        (frozenset(param.opts + param.secondary_opts), not param.is_flag): param
        for param in command.params
        if param.param_type_name == "option"
    }


def arguments(command: Any) -> list[str]:
    """The names of a command's arguments, as in its help."""
    found = [param for param in command.params if param.param_type_name == "argument"]
    return [(param.metavar or param.name.upper()).strip("[]") for param in found]


def daemon_parser(patch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The parser of stunwalld's command line."""
    made: list[argparse.ArgumentParser] = []

    def parse(self: argparse.ArgumentParser) -> argparse.Namespace:
        made.append(self)
        return argparse.Namespace()

    with patch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse)
        main._options()
    return made[0]


class Page:
    """The source of a page, by section."""

    def __init__(self, name: str) -> None:
        self.text = PAGES[name].read_text()

    def section(self, *titles: str) -> str:
        """The source of a section, or of one of its parts if two titles are given."""
        text = self.text
        for macro, title in zip(("Sh", "Ss"), titles, strict=False):
            found = re.search(rf"^\.{macro} {re.escape(title)}\n(.*?)(?=^\.{macro} |\Z)", text, re.M | re.S)
            assert found, f"the page has no {titles}"
            text = found[1]
        return text

    def parts(self, title: str) -> list[str]:
        """The titles of a section's parts."""
        return re.findall(r"^\.Ss (.*)$", self.section(title), re.M)


def entries(source: str) -> dict[str, str]:
    """Each tag in the lists of a source, with the text that follows it."""
    parts = re.split(r"^\.It (.*)\n", source, flags=re.M)[1:]
    found = list(
        zip(parts[::2], (re.split(r"^\.El\n", text, flags=re.M)[0] for text in parts[1::2]), strict=True)
    )
    return dict(found)


def lists(source: str) -> list[dict[str, str]]:
    """Like `entries`, for each list separately."""
    return [entries(block) for block in re.findall(r"^\.Bl .*?\n(.*?^\.El\n)", source, re.M | re.S)]


def words(source: str) -> str:
    """A source as its readers see it, in one line, with quotes as in the code."""
    found = []
    for line in source.splitlines():
        macro = re.match(r"\.(Dq|Ql|Sq) (.*?)((?: [.,:;])?)$", line)
        if macro:
            line = QUOTES[macro[1]] + macro[2] + QUOTES[macro[1]] + macro[3].strip()
        elif line.startswith("."):
            line = re.sub(r"^\.[A-Z]\w", "", line).replace("Fl -", "--")
            line = re.sub(r" ([.,:;])$", r"\1", line)
        found.append(line.replace(r"\(dq", '"').replace(r"\&", "").strip())
    return " ".join(found)


def tagged_options(source: str) -> dict[Option, str]:
    """The options that the lists of a source describe, with their text."""
    found = {}
    for tag, text in entries(source).items():
        if names := re.findall(r"\bFl (\S+)", tag):
            found[frozenset(f"-{name}" for name in names), " Ar " in tag] = text
    return found


def tagged(source: str, macro: str) -> list[str]:
    """What follows a macro in the tags of the lists of a source."""
    return [
        name
        for tag in entries(source)
        if tag.startswith(f"{macro} ")
        for name in tag.removeprefix(f"{macro} ").split(" , ")
    ]


MAIN, SERVICE, SETTINGS = (Page(name) for name in PAGES)


def test_exactly_the_existing_commands_are_described() -> None:
    assert MAIN.parts("COMMANDS") == [path for path in commands() if path]


def _of_command(path: str) -> str:
    return MAIN.section("COMMANDS", path) if path else MAIN.section("DESCRIPTION")


@pytest.mark.parametrize("path", commands())
def test_exactly_the_options_and_arguments_of_a_command_are_described(path: str) -> None:
    source, command = _of_command(path), commands()[path]
    assert tagged_options(source).keys() == options(command).keys()
    assert tagged(source, "Ar") == arguments(command)


@pytest.mark.parametrize("path", commands())
def test_defaults_and_names_of_values_match_the_code(path: str) -> None:
    described = tagged_options(_of_command(path))
    for option, param in options(commands()[path]).items():
        text = words(described[option])
        if param.default not in (None, False, ""):
            assert f"Default: {param.default}." in text
        if param.required:
            assert "Mandatory." in text
        if param.metavar:
            tag = next(
                tag for tag in entries(_of_command(path)) if f"Fl {max(option[0], key=len)[1:]} " in tag
            )
            assert tag.endswith(f" Ar {param.metavar}")


def test_the_exit_codes_match_the_help() -> None:
    listed = re.findall(r"^  (\d)  (.*)$", str(commands()[""].help), re.M)
    described = entries(MAIN.section("EXIT STATUS"))
    assert len(listed) > 3
    assert {tag: words(text) for tag, text in described.items()} == {
        code: text.replace("`", "") for code, text in listed
    }


def test_the_states_match_the_help() -> None:
    states = re.findall(r"^ *([a-z-]+)  +\S", str(status.status.__doc__), re.M)
    assert "wall-only" in states
    # `unknown` is no state of the wall.
    assert tagged(MAIN.section("COMMANDS", "status"), "Cm") == [*states, "unknown"]
    assert set(report.STATES) < set(states)


def test_the_fields_of_entries_match_the_json() -> None:
    fields_described = lists(MAIN.section("JSON", "Entries of the record"))[0]
    assert [tag.removeprefix("Ic ") for tag in fields_described] == list(
        log.fields_of(1, Event.note(0.0, "", ""))
    )


def _notes(function: ast.expr) -> int:
    """The index of the verdict in the arguments of a function that records one, otherwise -1."""
    match function:
        case ast.Attribute(attr="note", value=ast.Name(id="Event")):
            return 1
        case ast.Attribute(attr="note" | "_note"):
            return 0
    return -1


def test_exactly_the_recorded_verdicts_are_described() -> None:
    calls = [
        node.args[_notes(node.func)]
        for file in AGENT
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and _notes(node.func) >= 0
    ]
    variables = {"LEAK": LEAK}
    noted = {
        ast.literal_eval(name) if isinstance(name, ast.Constant) else variables.get(ast.unparse(name), GAP)
        for name in calls
    }
    assert {"paused", "resumed", GAP, LEAK} <= noted
    described = [tag.removeprefix("Cm ") for tag in lists(MAIN.section("JSON", "Entries of the record"))[1]]
    assert sorted(described) == sorted({*Verdict, *noted, EXPOSED}) == filters.verdicts()


def test_exactly_the_recorded_reasons_are_described_in_the_same_words() -> None:
    used = re.findall(
        r"\bReason\.([A-Z_]+)", "".join(file.read_text() for file in AGENT if file.name != "model.py")
    )
    recorded = {Reason[name] for name in used} - judge._UNRECORDED - {Reason.NOT_STUN}
    described = lists(MAIN.section("JSON", "Entries of the record"))[2]
    assert {tag.removeprefix("Cm "): words(text) for tag, text in described.items()} == {
        each.code: f"{each.title}. {each.meaning} {each.advice}".replace("`", "")
        for each in map(reasons.explanation, (replace(event(), reason=reason.value) for reason in recorded))
        if each is not None
    }


def test_the_fields_and_causes_of_an_explanation_match_the_code() -> None:
    fields_described, causes = lists(MAIN.section("JSON", "Explanations"))
    described = [name for tag in fields_described for name in tag.removeprefix("Ic ").split(" , ")]
    answer = next(
        node
        for node in ast.walk(ast.parse(Path(str(explanation.__file__)).read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "answer"
    )
    (printed,) = (node for node in ast.walk(answer) if isinstance(node, ast.Dict))
    assert described == [key.value for key in printed.keys if isinstance(key, ast.Constant)]
    assert {tag.removeprefix("Cm "): words(text) for tag, text in causes.items()} == {
        cause.value: f"{cause.sentence}." for cause in Cause
    }


def test_the_fields_of_the_status_match_the_json() -> None:
    ours, daemons = lists(MAIN.section("JSON", "The status"))
    printed = report.plain(report.Report("", "", None))
    assert [tag.removeprefix("Ic ") for tag in ours] == list(printed)
    keys = set()
    for node in ast.walk(ast.parse(Path(str(daemon_status.__file__)).read_text())):
        if isinstance(node, ast.FunctionDef) and node.name in ("status", "_wall"):
            tables = [each for each in ast.walk(node) if isinstance(each, ast.Dict)]
            keys |= {
                key.value for key in chain(*(each.keys for each in tables)) if isinstance(key, ast.Constant)
            }
    assert "queue_overruns" in keys
    described = [name for tag in daemons for name in tag.removeprefix("Ic ").split(" , ")]
    assert sorted(described) == sorted(str(key) for key in keys - {"queued"})  # which status() removes


def test_the_fields_results_and_checks_of_doctor_match_the_code() -> None:
    fields_described, checks_described = lists(MAIN.section("JSON", "Findings of doctor"))
    assert [tag.removeprefix("Ic ") for tag in fields_described] == [field.name for field in fields(Finding)]
    assert re.findall(r'"(\w+)"', words(fields_described["Ic result"])) == list(Result)
    assert [tag.removeprefix("Cm ") for tag in checks_described] == list(checks.CHECKS)


def test_the_examples_use_existing_commands_and_options() -> None:
    known = set(chain(*(names for command in commands().values() for names, _ in options(command))))
    shown = "".join(
        re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", MAIN.text + SERVICE.section("EXAMPLES"), re.M | re.S)
    ).replace("\\e\n", "")
    lines = re.findall(r"^(?:sudo )?stunwall (.*)$", shown, re.M)
    assert len(lines) > 10
    for line in lines:
        assert any(f"{line} ".startswith(f"{path} ") for path in commands() if path), line
        assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", line.split("|")[0])) <= known, line


def test_exactly_the_options_of_the_daemon_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = daemon_parser(monkeypatch)
    there = {(frozenset(action.option_strings), action.nargs != 0): action for action in parser._actions}
    described = tagged_options(SERVICE.section("DESCRIPTION"))
    assert described.keys() == there.keys()
    synopsis = set(re.findall(r"Fl (\S+)", SERVICE.section("SYNOPSIS")))
    assert synopsis == {max(names, key=len)[1:] for names, _ in there}
    for option, action in there.items():
        if option[1]:
            assert f"Default: {action.default}." in words(described[option])


def test_the_exit_codes_of_the_daemon_match_its_help(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = dict(re.findall(r"(\d) ([^,.]+)", str(daemon_parser(monkeypatch).epilog)))
    assert {tag: words(text) for tag, text in entries(SERVICE.section("EXIT STATUS")).items()} == listed


def test_exactly_the_environment_that_the_daemon_reads_is_described() -> None:
    source = "".join(file.read_text() for file in AGENT if file.parent.name != "cli")
    read = re.findall(r"""environ\.get\(["'](\w+)|"(\w+)" in os\.environ""", source)
    assert set(tagged(SERVICE.section("ENVIRONMENT"), "Ev")) == {one or other for one, other in read}


def test_the_capabilities_match_the_unit() -> None:
    unit = (ROOT / "systemd" / "stunwall.service").read_text()
    for setting in ("AmbientCapabilities", "CapabilityBoundingSet"):
        given = re.findall(rf"^{setting}=(.*)$", unit, re.M)
        assert given == [" ".join(re.findall(r"^\.Dv (CAP_\w+)", SERVICE.section("CAPABILITIES"), re.M))]


def test_exactly_the_keys_of_the_configuration_are_described() -> None:
    keys = SETTINGS.section("KEYS")
    main = re.split(r"^\.Ss ", keys, flags=re.M)[0]
    assert sorted([*tagged(main, "Ic"), "log", "allow"]) == sorted(field.name for field in fields(Config))
    assert tagged(SETTINGS.section("KEYS", "Table log"), "Ic") == [
        field.name for field in fields(config.Retention)
    ]
    assert tagged(SETTINGS.section("KEYS", "Tables allow"), "Ic") == ["why", *EXCEPTION_KEYS[:-1]]


def test_the_defaults_of_the_configuration_match_the_code() -> None:
    defaults = asdict(Config())
    del defaults["allow"]
    defaults |= defaults.pop("log")
    described = entries(SETTINGS.section("KEYS"))
    for key, value in defaults.items():
        text = words(described[f"Ic {key}"])
        shown = re.search(r"Default: '(.*)'$", text)
        assert shown, key
        stands = tomllib.loads(f"value = {shown[1]}")["value"]
        plain = value.value if isinstance(value, Enum) else value
        if isinstance(plain, frozenset | tuple):
            assert sorted(stands) == sorted(plain), key
        else:
            assert (str(stands) if isinstance(plain, Path) else stands) == (
                str(plain) if isinstance(plain, Path) else plain
            ), key


@pytest.mark.parametrize(
    ("table", "keys"),
    [("", KEYS), ("[log]\n", LOG_KEYS), ("[[allow]]\n", ALLOW_KEYS)],
    ids=["top", "log", "allow"],
)
def test_the_bounds_and_choices_of_the_configuration_match_the_code(
    table: str, keys: dict[str, Any], tmp_path: Path
) -> None:
    part = {"": (), "[log]\n": ("Table log",), "[[allow]]\n": ("Tables allow",)}[table]
    described = entries(SETTINGS.section("KEYS", *part))
    for key in keys:
        (tmp_path / "c.toml").write_text(f"{table}{key} = -1\n")
        with pytest.raises(ConfigError) as refused:
            reader.load(tmp_path / "c.toml")
        wanted = re.findall(r'from \d+ to \d+|"\w+"(?= or)|(?<=or )"\w+"', str(refused.value))
        text = words(described[f"Ic {key}"])
        # Readers know that user IDs have 32 bits.
        missing = [each for each in wanted if each not in text and key != "user"]
        assert not missing, key


def test_the_examples_of_the_configuration_are_valid(tmp_path: Path) -> None:
    shown = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", SETTINGS.section("EXAMPLES"), re.M | re.S)
    assert len(shown) == 2
    for text in shown:
        (tmp_path / "c.toml").write_text(text)
        assert reader.load(tmp_path / "c.toml") != Config()


def test_references_lead_to_existing_pages() -> None:
    for page in (MAIN, SERVICE, SETTINGS):
        for name, number in re.findall(r"\bXr (stunwall\S*) (\d)", page.text):
            assert f"{name}.{number}" in PAGES


def printed(*command: str, page: str) -> tuple[str, str]:
    """What a formatter writes to its output and to its errors."""
    if shutil.which(command[0]) is None:
        pytest.fail(f"this test needs {command[0]}: run it by tests/run.sh unit", pytrace=False)
    done = subprocess.run([*command, PAGES[page]], capture_output=True, text=True, check=False)
    return done.stdout, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_no_formatter_complains(page: str) -> None:
    assert printed("mandoc", "-Tlint", "-Wwarning", page=page) == ("", "")
    assert printed("groff", "-ww", "-mandoc", "-Tutf8", "-z", page=page) == ("", "")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "formatter",
    [("mandoc", "-Tutf8", "-Owidth=80"), ("groff", "-mandoc", "-Tutf8", "-P-cbou", "-rLL=80n")],
    ids=["mandoc", "groff"],
)
def test_no_printed_line_is_wider_than_80_columns(page: str, formatter: tuple[str, ...]) -> None:
    out, _ = printed(*formatter, page=page)
    lines = [re.sub(r".\x08", "", line) for line in out.splitlines()]
    assert len(lines) > 50
    assert not [line for line in lines if len(line.rstrip()) > 80]
