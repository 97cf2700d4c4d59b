"""The typer app: its commands, its own options, and how errors reach the user."""

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from stunwall import __version__
from stunwall.cli import allow, configuration, doctor, explain, log, pause, rules, show, status, vpn
from stunwall.configfile.reader import DEFAULT_FILE
from stunwall.model import StunwallError
from stunwall.text import printable

_HELP = """Show what stunwall blocked, and whether STUN can bypass the VPN.

\b
First steps:
  stunwall status              check whether STUN can leak
  stunwall log                 list what was blocked recently
  stunwall log --follow        watch while you open a page that makes calls
  stunwall show 12             show one entry in full, with its packet decoded
  stunwall explain 12          find out why it bypassed the VPN
  stunwall doctor              find out why something does not work
  stunwall vpn                 show which interfaces count as the VPN
  stunwall pause 10m           let all STUN through for a while

\b
Exit codes:
  0  success; for `status`: no STUN can leak
  1  failure; for `status`: STUN can leak
  2  wrong command line
  3  invalid configuration
  4  permission denied: use sudo, or join the group stunwall
"""

app = typer.Typer(
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, without boxes
)
app.command("status")(status.status)
app.command("log")(log.log)
app.command("show")(show.show)
app.command("explain")(explain.explain)
app.command("vpn")(vpn.vpn)
app.command("rules")(rules.rules)
app.command("doctor")(doctor.doctor)
app.command("pause")(pause.pause)
app.command("resume")(pause.resume)
app.command("reload")(configuration.reload)
app.add_typer(allow.app, name="allow")
app.add_typer(configuration.app, name="config")


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
