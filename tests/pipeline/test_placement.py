"""What a run takes of a cluster, and who gets it."""

import pytest

from cluster.errors import ClusterError
from pipeline.config import RunConfig
from pipeline.placement import GPU_UNIT, Layout, evaluator_shares, layout_of, shares
from pipeline.presets import preset

DEBUG = preset("debug")


def layout(config: RunConfig, **largest: float) -> Layout:
    """On a cluster whose largest node has so much."""
    return layout_of(config, [{"CPU": 1.0}, largest])


def with_processes(collectors: int, evaluators: int) -> RunConfig:
    collection = DEBUG.collection.model_copy(update={"num_collectors": collectors})
    evaluation = DEBUG.evaluation.model_copy(update={"num_evaluators": evaluators})
    return DEBUG.model_copy(update={"collection": collection, "evaluation": evaluation})


def test_without_a_gpu_everything_is_on_the_cpu():
    found = layout(with_processes(3, 1), CPU=8)
    assert found.bundles == [{"CPU": 8}]
    assert found.device == "cpu"
    assert [each.num_gpus for each in (*found.acting, *found.learners)] == [0] * 4


@pytest.mark.parametrize(("collectors", "evaluators"), [(1, 1), (2, 1), (16, 7)])
def test_one_gpu_is_shared_by_the_learner_and_all_who_act(collectors: int, evaluators: int):
    found = layout(with_processes(collectors, evaluators), CPU=32, GPU=4)
    assert [bundle["GPU"] for bundle in found.bundles] == [1]
    assert found.device == "cuda"
    (share,) = {each.num_gpus for each in found.acting}
    assert share > 0
    units = round(share * 1e4)
    assert share == pytest.approx(units / 1e4, abs=1e-12)  # Ray rounds to these
    assert 0.99 < found.learners[0].num_gpus + (collectors + evaluators) * units / 1e4 <= 1


def test_a_run_may_take_a_share_of_a_gpu():
    config = in_cluster(with_processes(3, 1), gpu_share=0.25)
    found = layout(config, CPU=32, GPU=4)
    assert found.bundles == [{"CPU": 4, "GPU": 0.25}]
    assert found.learners[0].num_gpus == 0.125
    assert 0 < sum(each.num_gpus for each in found.acting) + found.acting[0].num_gpus <= 0.125


def test_who_acts_may_be_spread_over_the_nodes():
    found = layout(in_cluster(with_processes(2, 3), acting="spread"), CPU=8, GPU=1)
    assert found.bundles == [{"CPU": 4, "GPU": 1}, {"CPU": 1}, {"CPU": 1}, {"CPU": 1}]
    assert [(each.bundle, each.num_gpus) for each in found.acting] == [(1, 0.0), (2, 0.0), (3, 0.0)]
    assert found.learners[0].bundle == 0


def in_cluster(config: RunConfig, **changes: object) -> RunConfig:
    return config.model_copy(update={"cluster": config.cluster.model_copy(update=changes)})


def test_a_gpu_that_is_not_there_is_missed_before_anything_starts():
    config = in_cluster(DEBUG, device="cuda")
    with pytest.raises(ClusterError, match="found no node with a GPU, expected at least one"):
        layout(config, CPU=8)


def test_each_part_may_have_a_learner_of_its_own_and_each_learner_several_processes():
    config = in_cluster(with_processes(2, 1), learners="split", data_parallel=2, acting="spread")
    found = layout(config, CPU=32, GPU=8)
    assert found.bundles == [{"CPU": 4, "GPU": 1}] * 6 + [{"CPU": 1}] * 2
    assert [(each.bundle, each.num_gpus) for each in found.learners] == [(index, 1.0) for index in range(6)]
    assert [each.bundle for each in found.acting] == [6, 7]
    beside = layout(in_cluster(config, acting="beside"), CPU=32, GPU=8)
    assert beside.bundles == [{"CPU": 4, "GPU": 1}] * 6
    assert [each.num_gpus for each in beside.learners] == [0.5, 1, 1, 1, 1, 1]  # the first shares its own


@pytest.mark.parametrize(
    ("learners", "acting", "schedule", "bundles", "threads"),
    [
        ("colocated", "beside", "synchronous", [8], 8),
        ("colocated", "beside", "overlapped", [8], 6),  # two collect while it learns
        ("colocated", "spread", "overlapped", [8, 1, 1], 8),
        ("split", "beside", "synchronous", [2, 2, 2], 2),
        ("split", "beside", "overlapped", [4, 2, 2], 2),
    ],
)
def test_on_cpus_no_more_threads_compute_at_once_than_the_largest_node_has(
    learners: str, acting: str, schedule: str, bundles: list[int], threads: int
):
    config = in_cluster(with_processes(2, 1), learners=learners, acting=acting)
    found = layout(config.model_copy(update={"schedule": schedule}), CPU=8)
    assert found.bundles == [{"CPU": cpus} for cpus in bundles]
    assert {each.threads for each in found.learners} == {threads}


@pytest.mark.parametrize(
    ("acting", "schedule", "asked", "processes", "bundles"),
    [
        ("beside", "synchronous", 0, 0, [8]),
        ("beside", "synchronous", 1, 0, [8]),  # no faster than none
        ("beside", "synchronous", 3, 3, [8]),
        ("beside", "synchronous", 9, 4, [8]),  # two collectors divide the CPUs that learn between them
        ("beside", "overlapped", 3, 3, [8]),  # six of them are theirs
        ("spread", "synchronous", 3, 3, [8, 3, 3]),
        ("spread", "synchronous", 99, 6, [8, 6, 6]),  # as many as each has environments
    ],
)
def test_a_cpu_for_every_process_that_steps_environments(
    acting: str, schedule: str, asked: int, processes: int, bundles: list[int]
):
    config = in_cluster(with_processes(2, 1), acting=acting).model_copy(update={"schedule": schedule})
    update = {"envs_per_collector": 6, "env_processes": asked}
    config = config.model_copy(update={"collection": config.collection.model_copy(update=update)})
    found = layout(config, CPU=8)
    assert found.env_processes == processes
    assert found.bundles == [{"CPU": cpus} for cpus in bundles]
    assert found.threads == (2 if schedule == "overlapped" else 8)


def test_who_is_spread_may_be_kept_to_nodes_of_one_label():
    found = layout(in_cluster(with_processes(2, 1), acting="spread", acting_on="pool=cpu"), CPU=8)
    assert found.labels == [{}, {"pool": "cpu"}, {"pool": "cpu"}]


def test_what_cannot_be_shared_out_equally_goes_to_the_first():
    assert shares(8, 3) == [3, 3, 2]
    assert shares(1, 3) == [1, 0, 0]


@pytest.mark.parametrize(
    ("num_cpus", "num_gpus", "most", "count", "each"),
    [
        ([16], [0], 13, 13, 0),  # no GPU
        ([4, 4], [0, 0], 13, 8, 0),
        ([16], [1], 13, 13, 13),  # 13 share a GPU
        ([16], [2], 13, 13, 7),  # 7 on one, 6 on the other
        ([16], [4], 13, 13, 4),
        ([16], [8], 13, 13, 2),
        ([16], [8], 5, 5, 1),
        ([64, 4], [0, 1], 13, 4, 4),  # nodes without a GPU stay idle
        ([2, 16], [4, 1], 13, 5, 3),  # 2 beside four GPUs, 3 on one
        ([0, 16], [1, 0], 13, 0, 0),  # no CPU beside the GPU
    ],
)
def test_evaluators_share_gpus_so_that_every_share_fits_on_one(
    num_cpus: list[int], num_gpus: list[int], most: int, count: int, each: int
):
    nodes = [{"CPU": cpus, "GPU": gpus} for cpus, gpus in zip(num_cpus, num_gpus, strict=True)]
    found, share = evaluator_shares(nodes, most)
    assert found == count
    assert share == (pytest.approx(1 / each, abs=GPU_UNIT) if each else 0)
    assert share * each <= 1
