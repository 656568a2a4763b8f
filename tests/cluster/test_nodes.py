"""Every node is asked; here there is one, which stands for any."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster import nodes
from cluster.config import PROBE
from cluster.errors import ClusterError
from cluster.nodes import check_nodes

pytestmark = pytest.mark.ray
TIMEOUT_S = 100.0


def test_nodes_that_see_the_directory_leave_nothing_in_it(cluster: Any, tmp_path: Path):
    (tmp_path / f"{PROBE}of-a-process-that-was-killed").write_text("")
    check_nodes(tmp_path, TIMEOUT_S)
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_cannot_see_the_directory_is_named(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As if the directory were one of this machine alone: the node looks for a file that is not there."""
    elsewhere = tmp_path / "elsewhere"
    look = nodes._look
    monkeypatch.setattr(nodes, "_look", lambda ours, theirs: look(f"{elsewhere}/{Path(ours).name}", theirs))
    with pytest.raises(ClusterError) as refused:
        check_nodes(tmp_path, TIMEOUT_S)
    (line,) = str(refused.value).splitlines()
    assert line.startswith("node ")
    assert f"cannot use {tmp_path}: No such file or directory ({elsewhere}/.probe-driver-" in line
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_writes_elsewhere_is_named(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    look = nodes._look
    monkeypatch.setattr(nodes, "_look", lambda ours, theirs: look(ours, f"{elsewhere}/{Path(theirs).name}"))
    with pytest.raises(ClusterError, match="it writes into another directory of that name"):
        check_nodes(tmp_path, TIMEOUT_S)
    shutil.rmtree(elsewhere)
    assert list(tmp_path.iterdir()) == []


def test_a_node_with_another_version_is_named(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    theirs = nodes._versions()
    monkeypatch.setattr(nodes, "_versions", lambda: {**theirs, "torch": "0.1"})
    look = nodes._look
    monkeypatch.setattr(nodes, "_look", lambda ours, path: (look(ours, path)[0], theirs))
    with pytest.raises(ClusterError, match=r"found torch .*, expected 0.1 as here"):
        check_nodes(tmp_path, TIMEOUT_S)
