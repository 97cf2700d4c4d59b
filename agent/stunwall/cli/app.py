"""The typer app: its options, its groups of commands, and how an error reaches the user."""

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from stunwall import __version__
from stunwall.cli import allow, configuration, doctor, log, pause, rules, show, status, vpn
from stunwall.configfile.reader import DEFAULT_FILE
from stunwall.model import StunwallError

_HELP = """Shows what stunwall blocked, and whether STUN can leave outside your VPN.

\b
First steps:
  stunwall status              is everything sealed?
  stunwall log                 what was blocked lately
  stunwall log --follow        watch, while you open a page that makes calls
  stunwall show 12             one entry whole, with its packet taken apart
  stunwall doctor              what keeps it from working
  stunwall vpn                 which interfaces are the VPN, and why
  stunwall pause 10m           let all STUN pass for a while

\b
Exit codes:
  0  done; of `status`: no STUN can leak
  1  failed; of `status`: STUN can leak
  2  the command line is wrong
  3  the configuration is wrong
  4  rights are missing, so it can't be told (try sudo, or join the group stunwall)
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("status")(status.status)
app.command("log")(log.log)
app.command("show")(show.show)
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
            help="The configuration that the daemon was started with.",
        ),
    ] = DEFAULT_FILE,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""
    context.obj = config


def main() -> None:
    """Run the command; an error of stunwall's is a line on stderr and its exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows few letters gets question marks
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="stunwall")
    except StunwallError as error:
        typer.echo(f"stunwall: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # as in `stunwall log | head`
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # as on a full disk
        typer.echo(f"stunwall: cannot write: {error.strerror}", err=True)
        sys.exit(1)
