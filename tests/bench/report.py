"""The report: results as Markdown, on the terminal and in README.md, and the plots beside it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import tables
from bench.results import Result, Run, load

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- the results -->", "<!-- end of the results -->"


def text(results: Sequence[Result]) -> str:
    """What one module has measured, for the terminal."""
    parts = [tables.table(group, results) for group in tables.groups(results)]
    parts += [tables.growth_table(results), tables.budgets(results)]
    return "".join(f"{part}\n\n" for part in parts if part)


def write(modules: Iterable[str]) -> None:
    """Puts what is kept of all modules between the markers of README.md."""
    runs = [run for module in modules if (run := load(module))]
    before, _, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{markdown(runs)}{END}{after}")


def markdown(runs: Sequence[Run]) -> str:
    everything = [result for run in runs for result in run.results]
    parts = ["## Budgets", tables.budgets(everything)]
    for run in runs:
        for group in tables.groups(run.results):
            parts += [f"## {group}", f"{run.date}, {run.machine}.", tables.table(group, run.results)]
    return "".join(f"{part}\n\n" for part in parts)
