"""For all tests: where CI=true, a skip is a failure, as a machine that lacks what a test needs shows nothing."""

import os
import signal
from collections.abc import Generator

import pytest

# A shell without job control has what it starts in the background ignore SIGINT, and so does whatever that starts: no
# Ctrl-C of a test would end anything.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not expect: {report.longrepr}"
    return report
