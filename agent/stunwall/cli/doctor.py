"""`stunwall doctor`: finds out why something does not work, and says what to do."""

import os
import sys
from collections import Counter
from dataclasses import asdict

import typer

from stunwall.cli import terminal
from stunwall.cli.options import JsonList, Redact
from stunwall.cli.redacted import redacted_finding, redaction
from stunwall.doctor import checks
from stunwall.doctor.findings import Finding, Result
from stunwall.text import count

_COLOURS = {
    Result.PROBLEM: typer.colors.RED,
    Result.WARNING: typer.colors.YELLOW,
    Result.UNKNOWN: typer.colors.YELLOW,
    Result.NOTE: typer.colors.CYAN,
    Result.OK: typer.colors.GREEN,
}


def doctor(context: typer.Context, as_json: JsonList = False, redact: Redact = False) -> None:
    """Find out why something does not work, and what to do about it.

    It checks the configuration, permissions, the kernel, the service, the disk, and
    what other programs do. It changes nothing and sends nothing.

    \b
    Example:
      sudo stunwall doctor

    \b
    Exit codes:
      0  no problem, though perhaps warnings
      1  a problem: STUN can leak, or will after a reboot, or nothing is recorded
      4  no problem was found, but something could not be checked: try sudo

    Fields of --json: check, result (problem, warning, unknown, note, ok), what,
    why, next.
    """
    waiting = sys.stderr.isatty() and not as_json
    if waiting:
        typer.echo("Checking ...\r", nl=False, err=True)
    hidden = redaction(redact)
    findings = [redacted_finding(each, hidden) for each in checks.examine(context.obj)]
    if waiting:
        typer.echo("            \r", nl=False, err=True)
    if as_json:
        terminal.print_json([asdict(each) for each in findings])
    else:
        _print(findings)
    results = {each.result for each in findings}
    if Result.PROBLEM in results:
        raise typer.Exit(1)
    raise typer.Exit(4 if Result.UNKNOWN in results else 0)


def _print(findings: list[Finding]) -> None:
    for result in Result:
        for finding in (each for each in findings if each.result is result):
            head = typer.style(
                result.value.upper().ljust(8), fg=_COLOURS[result], bold=result is Result.PROBLEM
            )
            typer.echo(f"{head} {terminal.wrapped(f'{finding.check}: {finding.what}', 9)}")
            for name, text in (("why", finding.why), ("next", finding.next)):
                if text:
                    terminal.rows([(f"         {name}", text)], 15)
    counts = Counter(finding.result for finding in findings)
    said = [count(counts[result], result.value) for result in (Result.PROBLEM, Result.WARNING)]
    sudo = "" if os.geteuid() == 0 else " (try sudo)"
    unknown = f", {counts[Result.UNKNOWN]} could not be done{sudo}" if counts[Result.UNKNOWN] else ""
    passed = count(counts[Result.OK], "check")
    typer.echo(f"\n{' and '.join(said)}; {passed} passed{unknown}.")
