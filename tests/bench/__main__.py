"""What stunwall costs, beside its peers in the same run: python -m bench.

    --only NOUN   one of the measuring modules (repeatable; default: all of MODULES)
    --quick       a smoke run of some seconds; its figures mean nothing
    --write       keeps the results in results/, and puts tables and plots into README.md

It needs the environment and the namespaces that tests/run.sh makes (`run.sh bench`).
"""

import argparse
from importlib import import_module

from bench import report
from bench.results import Result, Run, now, save
from lab.namespace import require_isolation

# Each has `measure(quick: bool) -> Iterator[Row | Growth]`, with its peers interleaved in rounds.
MODULES = (
    *("packets", "round_trips", "media", "exceptions"),
    *("floods", "network_changes", "causes", "idle", "commands", "detection"),
)


def run(module: str, quick: bool) -> Run:
    """What one module measures, printed as it ends."""
    results: list[Result] = list(import_module(f"bench.{module}").measure(quick))
    print(report.text(results), flush=True)
    return now(results)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=MODULES, metavar="NOUN")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.quick and options.write:
        parser.error("--quick measures nothing that is worth writing: leave out one of the two")
    require_isolation()
    for module in options.only or MODULES:
        measured = run(module, options.quick)
        if options.write:
            save(module, measured)
    if options.write:
        report.write(MODULES)


if __name__ == "__main__":
    main()
