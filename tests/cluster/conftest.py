"""One embedded Ray for all tests of cluster/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.config import ClusterConfig
from cluster.connect import connect, disconnect
from cluster.spawn import Placement, reserve


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterConfig]:
    """The settings of the Ray that is running."""
    config = ClusterConfig(object_store_mb=100)
    connect(config)
    yield config
    disconnect()


@pytest.fixture(scope="session")
def placement(cluster: ClusterConfig) -> Placement:
    """One CPU for all actors of the tests: none of them computes."""
    return Placement(reserve(cluster, num_cpus=1, num_gpus=0), threads=1)
