"""systemd/prometheus and systemd/grafana: alert rules and dashboard, looked at by promtool and Grafana's own types."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from stunwall.cli import figures
from stunwall.cli.report import Report
from stunwall.config import Config
from stunwall.queue.proc import Row
from unit.made_root import CHECKOUT
from unit.status import STATUS

RULES = CHECKOUT / "systemd/prometheus/stunwall.rules.yml"
DASHBOARD = CHECKOUT / "systemd/grafana/stunwall.json"
TESTS = sorted((CHECKOUT / "tests/unit/alerts").glob("*.yml"))
OF_NODE_EXPORTER = "node_textfile_mtime_seconds"


@pytest.fixture(autouse=True)
def installed() -> None:
    if shutil.which("promtool") is None:
        pytest.fail("this test needs promtool: run it by tests/run.sh unit", pytrace=False)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


def known_metrics() -> set[str]:
    """The names of all that `stunwall metrics` can print."""
    found = Report("protected", "", False, proof=STATUS["proof"], daemon=STATUS, counters=STATUS["counters"])
    return {metric.name for metric in figures.of(found, Config(), Row(1, 1, 1, 1, 1), {})}


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:stunwall|node)_\w+", expression))


def rules() -> dict[str, str]:
    """The expressions of the alerts: promtool has checked the YAML around them."""
    found = re.findall(r"- alert: (\w+)\n +expr: (?:>-\n)?(.*?)\n +(?:for|labels):", RULES.read_text(), re.S)
    return dict(found)


def test_the_alert_rules_are_valid_and_do_what_their_tests_say() -> None:
    checked = promtool("check", "rules", RULES)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"{len(rules())} rules found" in checked.stdout
    tested = promtool("test", "rules", *TESTS)
    assert (tested.returncode, tested.stderr) == (0, "")


def test_each_alert_has_a_test_and_names_what_is_printed() -> None:
    tests = "".join(file.read_text() for file in TESTS)
    assert len(rules()) == RULES.read_text().count("- alert:")
    for name, expression in rules().items():
        assert re.search(rf"alertname: {name}\n +exp_alerts:", tests), name
        assert named(expression), name
        assert named(expression) <= known_metrics() | {OF_NODE_EXPORTER}, name


def test_a_state_and_a_kind_in_a_rule_exist() -> None:
    for states in re.findall(r'state=~"([^"]+)"', RULES.read_text()):
        assert set(states.split("|")) <= set(figures.STATES)
    for event in re.findall(r'event="([^"]+)"', RULES.read_text()):
        assert event in figures.EVENTS


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def expressions(dashboard: dict[str, Any]) -> dict[str, str]:
    """The queries of the panels, as Grafana sends them."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$instance", "a|b")
        .replace("$__rate_interval", "4m")
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


def test_prometheus_parses_each_query_of_the_dashboard(dashboard: dict[str, Any], tmp_path: Path) -> None:
    as_rules = [
        {"record": f"query{number}", "expr": expression}
        for number, expression in enumerate(expressions(dashboard).values())
    ]
    file = tmp_path / "queries.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": as_rules}]}))
    checked = promtool("check", "rules", file)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"{len(as_rules)} rules found" in checked.stdout


def test_the_queries_name_what_is_printed(dashboard: dict[str, Any]) -> None:
    for title, expression in expressions(dashboard).items():
        assert named(expression), title
        assert named(expression) <= known_metrics(), title
        for state in re.findall(r',state="([^"]+)"', expression):
            assert state in figures.STATES
    (state, *_) = expressions(dashboard).values()
    assert re.findall(r',state="([^"]+)"', state) == list(
        dict.fromkeys(re.findall(r',state="([^"]+)"', state))
    )
    assert set(re.findall(r',state="([^"]+)"', state)) == set(figures.STATES)


def test_the_colours_and_names_of_the_states_are_in_the_order_of_the_query(dashboard: dict[str, Any]) -> None:
    timeline = dashboard["panels"][0]
    numbers = {
        number: name
        for name, number in re.findall(r'state="([^"]+)"} == 1\) \* (\d+)', timeline["targets"][0]["expr"])
    }
    (mapping,) = timeline["fieldConfig"]["defaults"]["mappings"]
    assert {number: shown["text"] for number, shown in mapping["options"].items()} == numbers


def lost(given: object, read: object, path: str = "") -> Iterator[str]:
    """What of a JSON value is missing from another one, or is not the same there."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            yield from lost(value, read[key], f"{path}/{key}") if key in read else [f"{path}/{key}"]
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif given != read:
        yield path


def test_grafana_knows_every_key_of_the_dashboard(dashboard: dict[str, Any]) -> None:
    register_default_plugins()

    def read(given: dict[str, Any]) -> object:
        return json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(given)))

    assert list(lost(dashboard, read(dashboard))) == []
    assert list(lost({"uiid": "x"} | dashboard, read({"uiid": "x"} | dashboard))) == ["/uiid"]


def test_the_dashboard_can_be_imported_beside_any_data_source(dashboard: dict[str, Any]) -> None:
    assert dashboard["uid"] == "stunwall"
    assert dashboard["schemaVersion"] >= 36
    assert "id" not in dashboard
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    sources = re.findall(r'"datasource": \{\s*"type": "(\w+)",\s*"uid": "([^"]+)"', DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len(sources) == len(panels) + len(expressions(dashboard)) + 1
    assert set(sources) == {("prometheus", "${datasource}")}
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
