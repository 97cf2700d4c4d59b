"""Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/). No I/O."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

Labels = Mapping[str, str]


class Kind(StrEnum):
    """A metric's type: a counter only grows, and starts again at 0 with what counts."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with its help text and its samples, each with its labels and its value."""

    name: str
    kind: Kind
    help: str
    samples: tuple[tuple[Labels, float], ...]


def text(metrics: Iterable[Metric]) -> str:
    """Return the metrics as Prometheus reads them; one without samples is left out."""
    return "".join(f"{line}\n" for metric in metrics if metric.samples for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for labels, value in metric.samples:
        named = ",".join(f'{name}="{_escaped(label)}"' for name, label in labels.items())
        yield f"{metric.name}{{{named}}} {value!r}" if named else f"{metric.name} {value!r}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
