"""What every test session shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from cluster.config import ClusterConfig

if TYPE_CHECKING:
    from cluster.ray_processes import RayProcesses

_SKIPPED = pytest.StashKey[list[str]]()
"""Tests (and modules that skip themselves while they are imported) that did not run and are not marked `gpu`."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SKIPPED] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report: pytest.TestReport = yield
    expected_failure = hasattr(report, "wasxfail")  # pytest reports an xfail as skipped, too
    if report.skipped and not expected_failure and item.get_closest_marker("gpu") is None:
        item.config.stash[_SKIPPED].append(item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    report: pytest.CollectReport = yield
    if report.skipped:
        collector.config.stash[_SKIPPED].append(collector.nodeid)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI (`CI=true`) a test that was skipped proves nothing: the session fails."""
    if os.environ.get("CI") == "true" and session.config.stash[_SKIPPED] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if os.environ.get("CI") == "true":
        for nodeid in config.stash[_SKIPPED]:
            terminalreporter.write_line(f"skipped in CI and not marked gpu: {nodeid}", red=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterConfig]:
    """One embedded Ray for all tests of a session that need one; the settings it was started with."""
    from cluster.connect import connect, disconnect  # loads Ray, which most tests do without

    config = ClusterConfig(object_store_mb=100)
    connect(config)
    yield config
    disconnect()


@pytest.fixture(scope="session")
def processes(cluster: ClusterConfig) -> RayProcesses:
    """On one CPU for all actors of the tests: none of them computes."""
    from cluster.ray_processes import RayProcesses

    processes = RayProcesses(cluster.start_timeout_s)
    processes.reserve([{"CPU": 1}])
    return processes
