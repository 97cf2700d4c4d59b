"""`stunwall doctor`: looks for what can keep stunwall from working, explains it, and says what to do."""

import os
import sys
from collections import Counter
from dataclasses import asdict

import typer

from stunwall.cli import terminal
from stunwall.cli.options import JsonList
from stunwall.doctor import checks
from stunwall.doctor.findings import Finding, Result
from stunwall.text import count, printable

_COLOURS = {
    Result.PROBLEM: typer.colors.RED,
    Result.WARNING: typer.colors.YELLOW,
    Result.UNKNOWN: typer.colors.YELLOW,
    Result.NOTE: typer.colors.CYAN,
    Result.OK: typer.colors.GREEN,
}


def doctor(context: typer.Context, as_json: JsonList = False) -> None:
    """Look for what keeps stunwall from working: kernel, rules of others, service, rights, configuration, disk.

    \b
    Example:
      sudo stunwall doctor

    It changes nothing and sends nothing. Exits 1 if there is a problem: STUN
    can leak, or will at the next boot, or nothing is recorded; 4 if there is
    none but something could not be looked at, as where your rights are too few;
    else 0, with warnings too.

    Fields of --json: check, result (problem, warning, unknown, note, ok), what, why, next.
    """
    waits = sys.stderr.isatty() and not as_json
    if waits:
        typer.echo("Looking ...\r", nl=False, err=True)
    findings = checks.examine(context.obj)
    if waits:
        typer.echo("           \r", nl=False, err=True)
    if as_json:
        terminal.print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    results = {finding.result for finding in findings}
    if Result.PROBLEM in results:
        raise typer.Exit(1)
    raise typer.Exit(4 if Result.UNKNOWN in results else 0)


def _print(findings: list[Finding]) -> None:
    for result in Result:
        for finding in (each for each in findings if each.result is result):
            head = typer.style(
                result.value.upper().ljust(8), fg=_COLOURS[result], bold=result is Result.PROBLEM
            )
            typer.echo(f"{head} {printable(f'{finding.check}: {finding.what}')}")
            terminal.rows([("         why", finding.why)] if finding.why else [], 15)
            terminal.rows([("         next", finding.next)] if finding.next else [], 15)
    counts = Counter(finding.result for finding in findings)
    said = [count(counts[result], result.value) for result in (Result.PROBLEM, Result.WARNING)]
    sudo = "" if os.geteuid() == 0 else " (try sudo)"
    unknown = f", {counts[Result.UNKNOWN]} could not be told{sudo}" if counts[Result.UNKNOWN] else ""
    fine = "1 check is" if counts[Result.OK] == 1 else f"{counts[Result.OK]} checks are"
    typer.echo(f"\n{' and '.join(said)}; {fine} fine{unknown}.")
