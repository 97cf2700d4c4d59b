"""Batches at once, and a short wait for locks: the tests need many of both."""

import time

import pytest

from stunwall.record import schema, writer
from unit.record import writing


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are of this minute, whenever a test begins."""
    monkeypatch.setattr(writing, "NOW", time.time())
    monkeypatch.setattr(writer, "BATCH", 0.001)
    monkeypatch.setattr(schema, "_BUSY", 0.01)
