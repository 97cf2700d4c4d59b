"""cli/exposition.py: Prometheus' text format."""

from stunwall.cli.exposition import Kind, Metric, text


def test_a_metric_has_its_help_its_type_and_a_line_a_sample() -> None:
    metric = Metric("a_total", Kind.COUNTER, "What it is.", (({"b": "c", "d": "e"}, 2), ({}, 1.5)))
    assert text([metric]) == (
        '# HELP a_total What it is.\n# TYPE a_total counter\na_total{b="c",d="e"} 2\na_total 1.5\n'
    )


def test_a_metric_without_samples_is_left_out() -> None:
    assert text([Metric("a", Kind.GAUGE, "What it is.", ())]) == ""


def test_a_label_cannot_end_its_quotes_or_line() -> None:
    metric = Metric("a", Kind.GAUGE, "What it is.", (({"b": '"} 1\na 2\\'}, 1),))
    assert text([metric]).splitlines()[2] == r'a{b="\"} 1\na 2\\"} 1'
