"""What all tests share."""

from __future__ import annotations

import os
import signal

# Before anything imports torch: more threads than one make small models slower, and timings unsteady.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from dgmlab.doctor import chromium as find_chromium

# A test run in the background of a script ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

REQUIRED = os.environ.get("DGMLAB_REQUIRE_BROWSER", "") not in ("", "0")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the test is skipped, or fails where DGMLAB_REQUIRE_BROWSER is set."""
    found = find_chromium()
    if not found:
        pytest.skip("no Chromium found (set DGMLAB_CHROMIUM, or install chromium)")
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if REQUIRED and report.skipped and item.get_closest_marker("browser"):
        report.outcome = "failed"
        report.longrepr = f"DGMLAB_REQUIRE_BROWSER is set, but this browser test was skipped: {call.excinfo.value}"
    return report
