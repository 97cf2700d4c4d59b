"""Does what comes as JSON lines through a virtio port, several things at a time, and answers likewise.

    {"id": 1, "run": ["uname", "-r"], "input": "", "env": {}}  →  {"id": 1, "code": 0, "output": "…", "errors": "…"}
    {"id": 2, "signal": 15, "to": 1}                           →  {"id": 2}: sent to the group of command 1
    {"id": 3, "call": "vm.inside:ask", "arguments": […]}       →  {"id": 3, "value": …}, or {"id": 3, "failed": "…"}

Standard library only. Nothing of it comes from the checkout, so that the image does not change with it; what is called
does, from the disk that is mounted at CHECKOUT.
"""

import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

PORTS = Path("/sys/class/virtio-ports")
CHECKOUT = "/run/checkout"


class Control:
    """The port, and the commands that run."""

    def __init__(self) -> None:
        (port,) = (port for port in PORTS.iterdir() if (port / "name").read_text().strip() == "control")
        self._port = os.open(f"/dev/{port.name}", os.O_RDWR | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._running: dict[int, subprocess.Popen[str]] = {}

    def serve(self) -> None:
        """Reads and obeys for ever."""
        sys.path.insert(0, f"{CHECKOUT}/tests")
        self._answer({"ready": True})
        with os.fdopen(os.dup(self._port), "rb", buffering=1 << 16) as lines:
            while line := lines.readline():
                order = json.loads(line)
                # At once, as the next order may be a signal to it.
                child = self._start(order) if "run" in order else None
                threading.Thread(target=self._obey, args=(order, child), daemon=True).start()

    def _answer(self, fields: dict[str, Any]) -> None:
        data = json.dumps(fields).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._port, data) :]

    def _obey(self, order: dict[str, Any], child: "subprocess.Popen[str] | None") -> None:
        try:
            if "run" in order:
                result = self._finish(order, child)
            elif "call" in order:
                result = self._call(order)
            else:
                os.killpg(self._running[order["to"]].pid, order["signal"])
                result = {}
        except Exception:  # noqa: BLE001 - whatever it is, the test has to hear of it
            result = {"failed": traceback.format_exc()}
        self._answer({"id": order["id"], **result})

    def _start(self, order: dict[str, Any]) -> "subprocess.Popen[str] | None":
        try:
            child = subprocess.Popen(
                order["run"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
                env={**os.environ, **order["env"]},
            )
        except OSError:
            return None  # there is no such program
        self._running[order["id"]] = child
        return child

    def _finish(self, order: dict[str, Any], child: "subprocess.Popen[str] | None") -> dict[str, Any]:
        if child is None:
            raise FileNotFoundError(f"cannot run {order['run']}")
        output, errors = child.communicate(order["input"])
        del self._running[order["id"]]
        return {"code": child.returncode, "output": output, "errors": errors}

    def _call(self, order: dict[str, Any]) -> dict[str, Any]:
        module, name = order["call"].split(":")
        return {"value": getattr(importlib.import_module(module), name)(*order["arguments"])}


if __name__ == "__main__":
    Control().serve()
