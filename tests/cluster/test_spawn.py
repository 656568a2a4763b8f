"""Resources are reserved or their lack is named; processes get their threads, their memory, and no GPU of others."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from cluster.config import ClusterConfig
from cluster.errors import ClusterError
from cluster.spawn import Placement, host_of, largest_node, reserve, spawn
from cluster.supervise import wait
from tests.cluster.fakes import Worker

pytestmark = pytest.mark.ray
PATIENCE_S = 120
AT_ONCE = ClusterConfig(start_timeout_s=1)


@pytest.fixture
def everything(cluster: ClusterConfig, placement: Placement) -> Iterator[PlacementGroup]:
    """All CPUs but the one that `placement` holds."""
    if largest_node("CPU") < 2:
        pytest.fail("found one CPU core, expected at least two")
    group = reserve(cluster, [{"CPU": largest_node("CPU") - 1}])
    yield group
    remove_placement_group(group)


def refusal(config: ClusterConfig, *bundles: dict[str, float]) -> str:
    with pytest.raises(ClusterError) as refused:
        reserve(config, bundles)
    return str(refused.value)


def test_the_embedded_ray_has_the_cores_that_this_process_may_use(cluster: ClusterConfig):
    assert largest_node("CPU") == len(os.sched_getaffinity(0))
    assert largest_node("unobtainium") == 0


def test_more_cpus_than_any_node_has_are_refused_at_once(cluster: ClusterConfig):
    found = largest_node("CPU")
    expected = f"no node is large enough: found {found} CPU, expected {found + 1} CPU on one"
    assert refusal(ClusterConfig(start_timeout_s=10_000), {"CPU": found + 1}) == expected


def test_more_gpus_than_any_node_has_are_refused_at_once(cluster: ClusterConfig):
    cpus, gpus = largest_node("CPU"), largest_node("GPU")
    expected = f"no node is large enough: found {cpus} CPU and {gpus} GPU, expected 1 CPU and {gpus + 1} GPU on one"
    assert refusal(ClusterConfig(start_timeout_s=10_000), {"CPU": 1, "GPU": gpus + 1}) == expected


def test_more_cpus_than_all_nodes_have_are_refused_at_once(cluster: ClusterConfig):
    found = largest_node("CPU")
    expected = f"the cluster is too small: found {found} CPU on 1 nodes, expected {found + 1} CPU"
    assert refusal(ClusterConfig(start_timeout_s=10_000), {"CPU": 1}, *[{"CPU": 1.0}] * found) == expected


def test_a_bundle_is_on_a_node_of_its_label(cluster: ClusterConfig):
    node = ray.nodes()[0]
    labels: dict[str, str] = node["Labels"]
    name, value = next(iter(labels.items()))
    group = reserve(cluster, [{"CPU": 0.5}], [{name: value}])
    assert host_of(Placement(group, threads=1)) == node["NodeManagerAddress"]
    remove_placement_group(group)
    with pytest.raises(ClusterError) as refused:
        reserve(ClusterConfig(start_timeout_s=10_000), [{"CPU": 0.5}], [{name: "another"}])
    assert str(refused.value) == f"found no node with {name}=another, expected at least one"
    with pytest.raises(ClusterError, match=rf"found \d+ CPU, expected 999 CPU on one with {name}={value}"):
        reserve(ClusterConfig(start_timeout_s=10_000), [{"CPU": 999}], [{name: value}])


def test_resources_that_others_hold_are_refused_after_the_time_given(everything: PlacementGroup):
    expected = "no free resources after 1 s: found 0 CPU, expected 1 CPU, 1 CPU, each on one node"
    assert refusal(AT_ONCE, {"CPU": 1}, {"CPU": 1}) == expected


def test_a_refused_reservation_does_not_go_on_waiting_for_the_resources(everything: PlacementGroup):
    refusal(AT_ONCE, {"CPU": 1})
    assert "PENDING" not in {group["state"] for group in placement_group_table().values()}


def test_a_process_is_built_from_its_arguments(placement: Placement):
    worker = spawn(Worker, "a", "b", placement=placement, suffix="!")
    assert wait(worker.name.remote(), "its name", PATIENCE_S) == "a-b!"
    ray.kill(worker)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_process_has_its_threads_which_sleep_while_they_wait_and_sees_no_gpu(placement: Placement, threads: int):
    worker = spawn(Worker, placement=Placement(placement.group, threads=threads))
    environment = wait(worker.environment.remote(), "its environment", PATIENCE_S)
    expected = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "2000",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "CUDA_VISIBLE_DEVICES": "",
    }
    assert {name: environment.get(name) for name in expected} == expected
    ray.kill(worker)


def test_more_processes_than_cpus_share_one_reservation(placement: Placement):
    workers = [spawn(Worker, str(index), placement=placement) for index in range(3)]
    names = wait([worker.name.remote() for worker in workers], "their names", PATIENCE_S)
    assert names == ["0", "1", "2"]
    for worker in workers:
        ray.kill(worker)
