"""The typer app: its commands, its own options, and how errors reach the user."""

import io
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from stunwall import __version__
from stunwall.configfile.reader import DEFAULT_FILE
from stunwall.model import StunwallError
from stunwall.text import printable

_HELP = """Show what stunwall blocked, and whether STUN can bypass the VPN.

\b
First steps:
  stunwall status              check whether STUN can leak
  stunwall log                 list what was blocked recently
  stunwall log --follow        watch while you open a page that makes calls
  stunwall stats               sum up who was blocked, and where to
  stunwall watch               watch state and attempts, full-screen
  stunwall show 12             show one entry in full, with its packet decoded
  stunwall explain 12          find out why it bypassed the VPN
  stunwall check               prove on the wire whether STUN can leak
  stunwall browsers            show what pages can learn from each browser
  stunwall exposure            show for how long STUN could leak, and why
  stunwall report --html FILE  write a page to send to someone
  stunwall metrics             print figures for Prometheus
  stunwall notify              show desktop notifications of what is blocked
  stunwall doctor              find out why something does not work
  stunwall vpn                 show which interfaces count as the VPN
  stunwall pause 10m           let all STUN through for a while

\b
Exit codes:
  0  success; for `status`, `check` and `exposure`: no leak
  1  failure; for `status`, `check` and `exposure`: a leak
  2  wrong command line
  3  invalid configuration
  4  permission denied: use sudo, or join the group stunwall
  5  for `check`: inconclusive
"""

# Where each command is: the module in this folder, and the function in it, or the group of commands.
_COMMANDS = {
    "status": "status:status",
    "log": "log:log",
    "stats": "stats:stats",
    "export": "export:export",
    "report": "html_report:report",
    "watch": "watch:watch",
    "show": "show:show",
    "explain": "explain:explain",
    "check": "check:check",
    "browsers": "browsers:app",
    "exposure": "exposure:exposure",
    "metrics": "metrics:metrics",
    "notify": "notify:notify",
    "vpn": "vpn:vpn",
    "rules": "rules:rules",
    "doctor": "doctor:doctor",
    "pause": "pause:pause",
    "resume": "pause:resume",
    "reload": "configuration:reload",
    "allow": "allow:app",
    "config": "configuration:app",
}


# Plain help, without boxes.
_plain = partial(typer.Typer, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class _Commands(Mapping[str, Any]):
    """The commands by name. One is loaded when it is asked for: to load all takes longer than most of them run."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - typer's commands have no public type
        module, _, attribute = _COMMANDS[name].partition(":")
        found = getattr(import_module(f"stunwall.cli.{module}"), attribute)
        one = _plain()
        if isinstance(found, typer.Typer):
            one.add_typer(found, name=name)
            return get_command(one).commands[name]  # type: ignore[attr-defined]
        one.command(name)(found)
        return get_command(one)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Group(TyperGroup):
    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - as above
        super().__init__(**attributes)
        self.commands = _Commands()  # type: ignore[assignment]


app = _plain(cls=_Group, help=_HELP, no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stunwall {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path,
        typer.Option(
            "--config",
            metavar="FILE",
            readable=False,
            help="Configuration file.",
        ),
    ] = DEFAULT_FILE,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that precede a command."""
    context.obj = config


def main() -> None:
    """Run the command. A StunwallError ends it with one line on stderr and its exit code, not with a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII terminal gets question marks
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="stunwall")
    except StunwallError as error:
        typer.echo(f"stunwall: {printable(str(error))}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # for example in `stunwall log | head`
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # for example on a full disk
        typer.echo(f"stunwall: cannot write: {error.strerror}", err=True)
        sys.exit(1)
