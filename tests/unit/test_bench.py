"""The bench's tables, and that it still runs: python -m bench --quick."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from bench import results, tables
from bench.__main__ import MODULES
from bench.results import Budget, Growth, Result, Row, Run, load, save

ROWS = (
    Row("Packets", "small", "nothing", "ns", (100.0, 110.0, 90.0), ()),
    Row("Packets", "small", "conntrack", "ns", (200.0,), ()),
    Row("Packets", "small", "stunwall", "ns", (500.0,), (Budget(2, "conntrack"), Budget(600))),
    Row("Packets", "large", "stunwall", "ns", (math.nan,), ()),
    Row("Media", "all", "stunwall", "Mbit/s", (1234.0,), (Budget(0.98, "nothing", least=True),)),
    Row("Floods", "leave", "stunwall", "%", (0.0, 0.25, 0.0), (Budget(0, always=True), Budget(0))),
)
GROWTH = Growth("Exceptions", "first", "exceptions", "stunwall", "µs", ((0, (1.0,)), (1000, (2.0, 3.0, 4.0))))
RESULTS: tuple[Result, ...] = (*ROWS, GROWTH)

TABLE = """\
| Packets | unit | nothing | conntrack | stunwall |
| --- | ---: | ---: | ---: | ---: |
| small | ns | 100 (90.0 to 110) | 200 | 500 |
| large | ns |  |  | – |"""
BUDGETS = """\
| what | who | budget | measured | met |
| --- | --- | --- | ---: | --- |
| Packets: small | stunwall | ≤ 2 × conntrack | 2.50 × | **no** |
| Packets: small | stunwall | ≤ 600 ns | 500 ns | yes |
| Media: all | stunwall | ≥ 0.98 × nothing | – | – |
| Floods: leave | stunwall | ≤ 0 %, always | 0.25 % | **no** |
| Floods: leave | stunwall | ≤ 0 % | 0.00 % | yes |"""
GROWTHS = """\
| first, µs, by exceptions | 0 | 1,000 |
| --- | ---: | ---: |
| stunwall | 1.00 | 3.00 (2.00 to 4.00) |"""


def test_a_group_is_a_table_with_the_peers_side_by_side() -> None:
    assert tables.table("Packets", RESULTS) == TABLE


def test_a_budget_is_met_or_not_or_nobody_knows() -> None:
    assert tables.budgets(RESULTS) == BUDGETS


def test_growth_is_a_table_of_sizes() -> None:
    assert tables.growth_table(RESULTS) == GROWTHS


def test_the_spread_is_that_of_most_values_unless_they_are_few() -> None:
    assert results.spread([5, 1, 3]) == (1, 5)
    assert results.spread([*range(101), 10_000]) == pytest.approx((10.1, 90.9))


def test_results_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    run = Run(
        "2026-11-27", "Linux", tuple(result for result in RESULTS if result != ROWS[3])
    )  # nan is no equal
    save("packets", run)
    assert load("packets") == run
    assert load("media") is None


@pytest.mark.parametrize(
    "modules",
    [
        pytest.param(("packets", "round_trips"), id="packets"),
        pytest.param(MODULES, id="all", marks=pytest.mark.thorough),
    ],
)
def test_it_measures(lab: None, modules: tuple[str, ...]) -> None:
    """In namespaces of its own, as the other tests have machines of the same names."""
    only = [word for module in modules for word in ("--only", module)]
    prepare = "mount -t tmpfs none /run && mkdir /run/netns /run/wireguard && ip link set lo up && exec"
    command = [sys.executable, "-m", "bench", "--quick", *only]
    isolated = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*isolated, "sh", "-c", f'{prepare} "$@"', "sh", *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "stunwall block" in done.stdout
