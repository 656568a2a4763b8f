"""What a run tells Prometheus, and what the dashboard asks of it."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.config import ClusterConfig
from cluster.gauges import GAUGES, Gauges

DASHBOARD = Path(__file__).resolve().parents[2] / "cluster" / "deploy" / "grafana.json"
PATIENCE_S = 120.0
METRICS = {"iteration": 3, "steps": 600, "tokenizer/loss": 0.5, "held_out/tokenizer/loss": 9.0}


def scraped(run: str) -> dict[str, float]:
    """What a node's endpoint says of a run: 'name' or 'name tag' -> value."""
    node: Any = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    text = urllib.request.urlopen(url, timeout=30).read().decode()
    found = {}
    for name, labels, value in re.findall(r"^ray_(iris_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if tags.get("run") == run:
            found[" ".join([name, *(tags[tag] for tag in GAUGES[name][1])])] = float(value)
    return found


@pytest.mark.ray
def test_what_a_run_commits_and_loses_is_at_the_endpoint_of_its_node(cluster: ClusterConfig):
    gauges = Gauges("one")
    gauges.lost()
    gauges.committed({**METRICS, "evaluation/score_mean": 2.5}, 12.0, {"collect": 1.0, "world model": 2.0})
    Gauges("other").committed(METRICS, 1.0, {})
    deadline = time.monotonic() + PATIENCE_S
    while len(scraped("one")) < 8 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert scraped("one") == {
        "iris_iteration": 3,
        "iris_steps": 600,
        "iris_iteration_seconds": 12,
        "iris_phase_seconds collect": 1,
        "iris_phase_seconds world model": 2,
        "iris_loss tokenizer": 0.5,
        "iris_score": 2.5,
        "iris_processes_lost": 1,
    }


def test_the_dashboard_draws_every_gauge_and_asks_for_no_other():
    dashboard = json.loads(DASHBOARD.read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    asked += dashboard["templating"]["list"][1]["query"]["query"]
    assert set(re.findall(r"ray_(iris_\w+)", asked)) == GAUGES.keys()
    tags = {tag for _, own in GAUGES.values() for tag in own}
    assert set(re.findall(r"by \((\w+)\) \(ray_iris", asked)) == tags
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
