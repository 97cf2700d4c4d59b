"""`stunwall watch`: what is blocked, live and full-screen."""

import sys
from contextlib import closing

import typer

from stunwall.cli import report, show
from stunwall.cli.options import Redact
from stunwall.cli.redacted import open_redacted, redaction
from stunwall.configfile import reader
from stunwall.model import Event, StunwallError

_NEWEST = 1000  # entries in the list


def watch(context: typer.Context, redact: Redact = False) -> None:
    """Show the state and what is blocked, live, until you press q.

    \b
    Keys:
      f      show only entries that contain a text
      space  hold the list, or let it go on
      enter  show the selected entry in full
      q      quit

    \b
    Example:
      sudo stunwall watch
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise StunwallError(
            "`stunwall watch` needs a terminal. For a pipe or a file, use `stunwall log --follow`"
        )
    from stunwall.cli.watch_screen import Watch  # takes half a second

    settings, hidden = reader.load(context.obj), redaction(redact)

    def newest() -> list[tuple[int, Event]]:
        # Anew each time: the daemon may start, or move a damaged record aside, meanwhile.
        with closing(open_redacted(settings, hidden)) as record:
            return list(record.events(limit=_NEWEST))

    Watch(newest, lambda: report.make(settings, hidden), show.text).run()
