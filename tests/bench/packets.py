"""Not measured yet."""

from collections.abc import Iterator

from bench.results import Result


def measure(quick: bool) -> Iterator[Result]:
    yield from ()
