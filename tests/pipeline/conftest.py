"""What the tests of pipeline/ share."""

from __future__ import annotations

import pytest

from learners import durable


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is lost during a test, and the test of crashes brings its own disk."""
    monkeypatch.setattr(durable, "fsync", lambda descriptor: None)
