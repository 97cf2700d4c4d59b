"""Who may import what, and how long a file may be: the design as a test."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

AGENT = Path(__file__).resolve().parents[2] / "agent"
PACKAGE = AGENT / "stunwall"
FILES = sorted(PACKAGE.rglob("*.py"))
# What each room may import of the others. A module directly in stunwall/ is a room of its own: all of them,
# and all of stun/, are pure.
ROOMS = {
    "__init__": set[str](),
    "model": set[str](),
    "stun": {"model"},
    "config": {"model"},
    "policy": {"model", "config", "stun"},
    "judge": {"model", "config", "policy", "stun"},
    "text": {"model"},
    "reasons": {"model"},
    "redact": {"model", "stun"},
    "netlink": set(),
    "hints": {"model"},
    "configfile": {"model", "config"},
    "vpn": {"model", "config", "netlink"},
    "wall": {"model", "config", "hints", "netlink"},
    "queue": {"model"},
    "sockets": {"model", "netlink"},
    "check": {"model", "text", "stun", "vpn"},
    "browsers": {"model"},
    "record": {"model", "config", "hints"},
    "bus": {"model"},
    "polkit": {"model", "text", "bus"},
    "presets": {"model", "config"},
    "control": {"model", "hints", "text", "polkit"},
    "notify": {"model", "reasons", "text", "bus", "control", "record", "sockets"},
    "daemon": {
        *("model", "config", "policy", "judge", "reasons", "text"),
        *("configfile", "vpn", "wall", "queue", "sockets", "stun", "record", "control", "polkit"),
    },
    "doctor": {
        *("model", "config", "text", "hints", "polkit"),
        *("configfile", "wall", "queue", "record", "control", "presets"),
    },
    "cli": {
        *("model", "config", "reasons", "text", "hints", "stun", "redact"),
        *("configfile", "vpn", "wall", "record", "control", "doctor", "notify", "check", "presets"),
        *("browsers", "sockets", "queue"),
    },
}
PURE = {"model", "config", "policy", "judge", "reasons", "text", "hints", "netlink", "stun", "redact"}
# Pure modules in rooms that also do I/O.
PURE_MODULES = {
    *("vpn/interfaces.py", "vpn/inside.py", "vpn/coverage.py", "vpn/messages.py", "vpn/network.py"),
    *("vpn/advice.py", "vpn/cause.py", "vpn/clients.py", "vpn/fib.py", "vpn/iproute.py", "vpn/walk.py"),
    *("vpn/routes.py", "wall/contents.py", "wall/listing.py", "wall/requirements.py", "wall/cgroup_names.py"),
    *("notify/words.py", "notify/groups.py"),
    *("record/filter.py", "record/shares.py", "sockets/cgroup_owner.py"),
    *("doctor/findings.py", "doctor/other_rules.py", "doctor/known_programs.py"),
    *("check/browser.py", "check/candidates.py", "check/rows.py"),
    *("browsers/levels.py", "presets/places.py", "cli/decode.py"),
}
_INPUT_AND_OUTPUT = (
    "asyncio ctypes datetime fcntl http io logging mmap multiprocessing os random secrets select selectors "
    "shutil signal socket sqlite3 ssl subprocess sys tempfile threading time urllib"
)
INPUT_AND_OUTPUT = set(_INPUT_AND_OUTPUT.split())
# The only importers of each outside library, and of the standard library's ways out of the process.
OUTSIDE = {
    "netfilterqueue": {"queue/nfqueue.py"},
    "pyroute2": {"vpn/policy_route.py"},
    "ctypes": {"wall/units.py", "wall/nft.py", "wall/inspection.py"},
    "sqlite3": {"record"},
    "scapy": {"cli/capture.py"},
    "jeepney": {"bus.py"},
    "jinja2": {"cli/page.py"},
    "textual": {"cli/watch_screen.py"},
    "rich": {"cli/watch_screen.py"},
    "typer": {"cli"},
    "click": {"cli"},
    "subprocess": {"doctor/machine.py", "cli/daemon.py", "cli/check_browser.py"},
}
# Where any exception at all must not end the daemon: a packet needs its verdict, the record its writer.
BROAD = {"queue/nfqueue.py", "record/writer.py"}
LINES, FUNCTION_LINES = 400, 40


def place(file: Path) -> str:
    """`wall/monitor.py`, as in the tables above."""
    return str(file.relative_to(PACKAGE))


def room(file: Path) -> str:
    """`wall` for wall/monitor.py, `model` for model.py."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it: `a.b` for `import a.b` and for `from a import b`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(file: Path) -> set[str]:
    """The rooms that a file imports."""
    parts = (name.split(".") for name in imported(file))
    return {words[1] for words in parts if words[0] == "stunwall" and len(words) > 1} - {"__version__"}


@pytest.mark.parametrize("file", FILES, ids=place)
def test_each_room_imports_only_what_it_may(file: Path) -> None:
    assert ours(file) <= ROOMS[room(file)] | {room(file)}


PURE_FILES = [file for file in FILES if room(file) in PURE or place(file) in PURE_MODULES]


@pytest.mark.parametrize("file", PURE_FILES, ids=place)
def test_pure_modules_read_no_clock_and_do_no_io(file: Path) -> None:
    # To write down a time that is given is not to read the clock.
    constants = {"socket.AF_INET", "socket.AF_INET6", "socket.AddressFamily"}
    used = set(imported(file)) - {"time.localtime", "time.strftime"} - constants
    assert {name.split(".")[0] for name in used} & INPUT_AND_OUTPUT == set()
    assert ours(file) <= PURE | {room(file)}
    if file.name != "config.py":
        assert "pathlib.Path" not in set(imported(file))
    called = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
    assert called & {"open", "print", "input", "eval", "exec"} == set()


def test_the_tables_name_what_exists() -> None:
    places = {place(file) for file in FILES}
    assert {room(file) for file in FILES} == ROOMS.keys()
    assert places >= PURE_MODULES
    named = {each for each in set().union(*OUTSIDE.values()) if each.endswith(".py")}
    assert places >= named


def test_each_outside_library_has_its_only_importers() -> None:
    importers: dict[str, set[str]] = {}
    for file in FILES:
        for name in imported(file):
            importers.setdefault(name.split(".")[0], set()).add(place(file))
    for library, allowed in OUTSIDE.items():
        for importer in importers.get(library, set()):
            assert importer in allowed or importer.split("/")[0] in allowed, f"{importer} imports {library}"
    assert set(importers) - set(sys.stdlib_module_names) - {"stunwall"} <= set(OUTSIDE)


def test_the_imports_form_no_circle() -> None:
    wanted = {file: _modules(file) - {file} for file in FILES if file.name != "__init__.py"}
    while free := {file for file, needs in wanted.items() if not needs & wanted.keys()}:
        wanted = {file: needs for file, needs in wanted.items() if file not in free}
    assert wanted == {}


def _modules(file: Path) -> set[Path]:
    """The files of ours that a file imports."""
    found = set()
    for name in imported(file):
        for words in (name.split("."), name.split(".")[:-1]):
            found.add(AGENT.joinpath(*words).with_suffix(".py"))
    return found


def test_the_daemon_loads_neither_scapy_nor_typer() -> None:
    script = "import sys, stunwall.daemon.main\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(AGENT)}
    )
    loaded = set(done.stdout.split())
    assert {"netfilterqueue", "stunwall"} <= loaded, done.stderr
    assert loaded & {"scapy", "typer", "click", "rich", "asyncio", "jeepney", "pyroute2", "ssl"} == set()


def test_a_command_loads_neither_other_commands_nor_what_they_need() -> None:
    script = """
import sys
from stunwall.cli.app import app
sys.argv = ["stunwall", "vpn", "--help"]
try:
    app()
finally:
    print(*sorted(name for name in sys.modules if name.startswith("stunwall.cli.")))
    print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(AGENT)}
    )
    (ours, loaded) = done.stdout.splitlines()[-2:]
    needed = ("app", "daemon", "options", "record", "redacted", "terminal", "vpn")
    assert ours == " ".join(f"stunwall.cli.{name}" for name in needed)
    assert "typer" in loaded.split()
    assert (
        set(loaded.split()) & {"scapy", "rich", "textual", "jeepney", "jinja2", "pydantic", "pyroute2"}
        == set()
    )


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
            assert not broad or reraises or place(file) in BROAD, f"line {node.lineno}: a broad except"
