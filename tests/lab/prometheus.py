"""A Prometheus and a node_exporter on the client's loopback, with the alert rules that stunwall comes with."""

import json
import re
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import urlopen

from lab.deadline import until
from lab.process import Process
from lab.topology import Lab

RULES = Path(__file__).parents[2] / "systemd/prometheus/stunwall.rules.yml"
_EXPORTER, _PROMETHEUS = "127.0.0.1:9100", "127.0.0.1:9090"
_STARTED = 20  # seconds; they take one, if nobody else uses the processors
_CONFIG = f"""
global:
  scrape_interval: 250ms
  evaluation_interval: 250ms
rule_files: [rules.yml]
scrape_configs:
  - job_name: node
    static_configs:
      - targets: ["{_EXPORTER}"]
"""


class Prometheus:
    """Both run while the `with` does. `file` is what the exporter's textfile collector reads."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._running: list[Process] = []
        (folder / "textfile").mkdir()
        self.file = folder / "textfile" / "stunwall.prom"
        # The rules as they are, but for how long something has to last.
        rules, changed = re.subn(r"for: \d+m", "for: 1s", RULES.read_text())
        assert changed
        (folder / "rules.yml").write_text(rules)
        (folder / "prometheus.yml").write_text(_CONFIG)

    def __enter__(self) -> Self:
        exporter = (
            *("prometheus-node-exporter", f"--web.listen-address={_EXPORTER}"),
            *("--collector.disable-defaults", "--collector.textfile"),
            f"--collector.textfile.directory={self.file.parent}",
        )
        server = (
            *("prometheus", f"--config.file={self._folder}/prometheus.yml"),
            *(f"--storage.tsdb.path={self._folder}/data", f"--web.listen-address={_PROMETHEUS}"),
        )
        try:
            self._running = [Process(self._lab.client, *command) for command in (exporter, server)]
            self._running[1].wait_line("Server is ready", _STARTED)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            process.kill()

    def _get(self, path: str, **parameters: str) -> Any:
        address = f"http://{_PROMETHEUS}/api/v1/{path}?{urlencode(parameters)}"

        def ask() -> Any:
            with urlopen(address, timeout=5) as answer:
                return json.load(answer)["data"]

        return self._lab.client.call(ask)

    def values(self, expression: str) -> list[float]:
        """The values of a query now."""
        return [float(each["value"][1]) for each in self._get("query", query=expression)["result"]]

    def wait_value(self, expression: str, value: float) -> None:
        """Returns once a query has this one value."""
        until(lambda: self.values(expression) == [value], _STARTED, f"{expression} to be {value}")

    def alerts(self) -> dict[str, str]:
        """The state of each alert that is pending or firing."""
        return {each["labels"]["alertname"]: each["state"] for each in self._get("alerts")["alerts"]}

    def states_of(self, alert: str) -> str:
        """Its state, which may also be inactive."""
        groups = self._get("rules", type="alert")["groups"]
        (found,) = [
            str(rule["state"]) for group in groups for rule in group["rules"] if rule["name"] == alert
        ]
        return found
