"""The report: results as Markdown, on the terminal and in README.md, and the plots beside it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import plots, tables
from bench.results import Result, Run, load

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- the results -->", "<!-- end of the results -->"


def text(results: Sequence[Result]) -> str:
    """What one module has measured, for the terminal."""
    parts = [tables.table(group, results) for group in tables.groups(results)]
    parts += [tables.growth_table(results), tables.budgets(results)]
    return "".join(f"{part}\n\n" for part in parts if part)


def write(modules: Iterable[str]) -> None:
    """Puts what is kept of all modules between the markers of README.md, with the plots."""
    runs = [run for module in modules if (run := load(module))]
    before, _, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{markdown(runs)}{END}{after}")


def markdown(runs: Sequence[Run]) -> str:
    """The budgets, then each group with its plot and its table. The plots are drawn meanwhile."""
    parts = ["## Budgets", tables.budgets([result for run in runs for result in run.results])]
    for run in runs:
        for group in dict.fromkeys(result.group for result in run.results):
            results = [result for result in run.results if result.group == group]
            parts += [f"## {group}", f"{run.date}, {run.machine}."]
            parts += [f"![{what}](plots/{file.name})" for what, file in plots.draw(group, results)]
            parts += [tables.table(group, results), tables.growth_table(results)]
    return "".join(f"{part}\n\n" for part in parts if part)
