"""Who may import what, and how long a file may be: the design as a test."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

AGENT = Path(__file__).resolve().parents[2] / "agent"
FILES = sorted((AGENT / "stunwall").rglob("*.py"))
CORE = {"model", "packet", "stun", "detect", "policy", "vpn", "config", "kernel", "neighbours"}
INPUT_AND_OUTPUT = {
    *(
        "socket",
        "select",
        "selectors",
        "ssl",
        "http",
        "urllib",
        "asyncio",
        "signal",
        "subprocess",
        "threading",
    ),
    *(
        "multiprocessing",
        "os",
        "io",
        "shutil",
        "tempfile",
        "sqlite3",
        "time",
        "datetime",
        "random",
        "secrets",
    ),
    *("logging", "sys", "fcntl", "mmap", "ctypes"),
}
# The only importers of each outside library.
OUTSIDE = {
    "netfilterqueue": {"nfqueue"},
    "pyroute2": {"links", "detour", "endpoints", "firewall"},
    "ctypes": {"cgroups"},
    "sqlite3": {"events"},
    "scapy": {"cli"},
    "typer": {"cli"},
    "click": {"cli"},
    "subprocess": {"firewall", "cli"},
}
LINES, FUNCTION_LINES = 400, 40


def noun(file: Path) -> str:
    """`events` for events.py, `cli` for all in cli/."""
    parts = file.relative_to(AGENT / "stunwall").parts
    return parts[0].removesuffix(".py")


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it: `a.b` for `import a.b` and for `from a import b`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(file: Path) -> set[str]:
    """The nouns of stunwall that a file imports."""
    parts = (name.split(".") for name in imported(file))
    return {words[1] for words in parts if words[0] == "stunwall" and len(words) > 1} - {"__version__"}


@pytest.mark.parametrize("file", [file for file in FILES if noun(file) in CORE], ids=noun)
def test_the_core_reads_no_clock_and_does_no_io(file: Path) -> None:
    roots = {name.split(".")[0] for name in imported(file)}
    assert roots & INPUT_AND_OUTPUT == set()
    assert ours(file) <= CORE


def test_the_core_is_all_there() -> None:
    assert {noun(file) for file in FILES} >= CORE


def test_only_config_touches_files_in_the_core() -> None:
    users = {noun(file) for file in FILES if noun(file) in CORE and "pathlib.Path" in set(imported(file))}
    assert users == {"config"}
    opens = {
        noun(file)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if noun(file) in CORE
        and isinstance(node, ast.Name)
        and node.id in ("open", "print", "input", "eval", "exec")
    }
    assert opens == set()


def test_the_vocabulary_imports_nothing_of_ours() -> None:
    assert ours(AGENT / "stunwall" / "model.py") == set()


def test_each_outside_library_has_its_only_importers() -> None:
    importers: dict[str, set[str]] = {}
    for file in FILES:
        for name in imported(file):
            importers.setdefault(name.split(".")[0], set()).add(noun(file))
    for library, allowed in OUTSIDE.items():
        assert importers.get(library, set()) <= allowed, library
    standard = set(sys.stdlib_module_names)
    assert set(importers) - standard - {"stunwall"} <= set(OUTSIDE)


def test_nothing_but_the_command_imports_the_command_and_only_the_daemon_wires() -> None:
    for file in FILES:
        if noun(file) != "cli":
            assert "cli" not in ours(file), file
        assert "daemon" not in ours(file), file


def test_adapters_do_not_import_each_other() -> None:
    adapters = {
        "links",
        "detour",
        "endpoints",
        "cgroups",
        "firewall",
        "nfqueue",
        "answer",
        "events",
        "control",
        "log",
        "changes",
        "heartbeat",
        "service",
        "folder",
        "entry",
    }
    for file in FILES:
        if noun(file) in adapters:
            assert ours(file) <= CORE, file


def test_what_ties_adapters_together_knows_no_other() -> None:
    ties = {
        "network": {"links", "detour", "endpoints", "cgroups", "firewall"},
        "pause": {"firewall"},
        "commands": {"control", "pause", "entry"},
        "sentry": {"changes", "firewall", "network", "pause"},
    }
    for name, tied in ties.items():
        assert ours(AGENT / "stunwall" / f"{name}.py") <= CORE | tied, name


def test_the_imports_form_no_circle() -> None:
    wanted = {
        noun(file): ours(file) - {noun(file)} for file in FILES if noun(file) not in ("cli", "__init__")
    }
    while free := {name for name, needs in wanted.items() if not needs & wanted.keys()}:
        wanted = {name: needs for name, needs in wanted.items() if name not in free}
    assert wanted == {}


def test_the_daemon_loads_neither_scapy_nor_typer() -> None:
    script = "import sys, stunwall.daemon\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(AGENT)}
    )
    loaded = set(done.stdout.split())
    assert {"netfilterqueue", "pyroute2", "stunwall"} <= loaded, done.stderr
    assert loaded & {"scapy", "typer", "click", "rich", "asyncio_mqtt"} == set()


def test_the_command_does_not_load_scapy_before_it_is_needed() -> None:
    script = "import sys, stunwall.cli.app\nprint('scapy' in sys.modules, 'typer' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(AGENT)}
    )
    assert done.stdout == "False True\n", done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(AGENT)))
def test_files_and_functions_are_small(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= FUNCTION_LINES, f"{node.name} has {size} lines"


def _refuses(body: list[ast.stmt]) -> bool:
    """Whether a branch only raises, or tells mypy that it is never reached."""
    (statement, *more) = body
    never = isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("assert_never(")
    return not more and (never or isinstance(statement, ast.Raise))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(AGENT)))
def test_every_match_is_exhaustive_and_no_except_is_bare_or_silent(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.match_case):
            catches_all = isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None
            assert not catches_all or _refuses(node.body), f"line {node.pattern.lineno}: a default branch"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            reraises = isinstance(node.body[-1], ast.Raise)
            assert not broad or reraises or file.name == "nfqueue.py", f"line {node.lineno}: a broad except"
