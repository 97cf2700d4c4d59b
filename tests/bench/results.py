"""What the measuring modules yield, and how it is kept: a JSON file a module, with its date and machine."""

import json
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a row is allowed to be (design: budgets).

    Args:
        limit: in the row's unit, or as a factor of the peer `beside`.
        beside: the peer, of the same group and the same `what`; "" if the limit is in the row's unit.
        least: it is a lower limit.
        always: every value has to meet it, not only the median.
    """

    limit: float
    beside: str = ""
    least: bool = False
    always: bool = False

    def words(self, unit: str) -> str:
        """The budget of a row in this unit: "≤ 2 × conntrack", "≤ 35 MiB"."""
        of = f"× {self.beside}" if self.beside else unit
        return f"{'≥' if self.least else '≤'} {self.limit:g} {of}{', always' if self.always else ''}"

    def chosen(self, values: Iterable[float]) -> float:
        """The value that has to meet it: the worst one, or the median."""
        if self.always:
            return min(values) if self.least else max(values)
        return median(values)

    def met(self, figure: float) -> bool:
        return figure >= self.limit if self.least else figure <= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, measured several times: a cell of the table `group`, in line `what` and column `peer`."""

    group: str
    what: str
    peer: str
    unit: str
    values: tuple[float, ...]
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class Growth:
    """A curve of the plot `group`-`what`: how `peer` grows with `against`.

    Args:
        against: what grows, such as "exceptions".
        points: (how many, what was measured several times), from the fewest.
    """

    group: str
    what: str
    against: str
    peer: str
    unit: str
    points: tuple[tuple[int, tuple[float, ...]], ...]


Result = Row | Growth


@dataclass(frozen=True, slots=True)
class Run:
    """What one module has measured."""

    date: str
    machine: str
    results: tuple[Result, ...]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def spread(values: Iterable[float]) -> tuple[float, float]:
    """The 10th and the 90th percentile; of fewer than ten values, the smallest and the largest."""
    ordered = sorted(values)
    if len(ordered) < 10:
        return ordered[0], ordered[-1]
    tenths = statistics.quantiles(ordered, n=10, method="inclusive")
    return tenths[0], tenths[-1]


def now(results: Iterable[Result]) -> Run:
    """The run that has just ended on this machine."""
    return Run(datetime.now(UTC).date().isoformat(), machine(), tuple(results))


def machine() -> str:
    """The kernel, the processor's model and the number of cores: nothing that names the machine or its owner."""
    info = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    release = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"Linux {release}, {models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def save(module: str, run: Run) -> None:
    """Keeps it, a line a result, instead of what this module had measured before."""
    FOLDER.mkdir(exist_ok=True)
    kept = asdict(run)
    results = ",\n".join(json.dumps(result, ensure_ascii=False) for result in kept.pop("results"))
    head = json.dumps(kept, ensure_ascii=False).removesuffix("}")
    (FOLDER / f"{module}.json").write_text(f'{head}, "results": [\n{results}\n]}}\n')


def load(module: str) -> Run | None:
    """What `save` has kept of this module, None if it never ran."""
    file = FOLDER / f"{module}.json"
    if not file.exists():
        return None
    kept = json.loads(file.read_text())
    return Run(kept["date"], kept["machine"], tuple(_result(each) for each in kept["results"]))


def _result(kept: dict[str, object]) -> Result:
    match kept:
        case {"points": list(points), **rest}:
            return Growth(**rest, points=tuple((many, tuple(values)) for many, values in points))  # type: ignore[arg-type]
        case {"values": list(values), "budgets": list(budgets), **rest}:
            allowed = tuple(Budget(**budget) for budget in budgets)
            return Row(**rest, values=tuple(values), budgets=allowed)  # type: ignore[arg-type]
        case _:
            raise ValueError(f"expected a row or a growth, got {kept}")
