"""What a run reserves, and who gets it."""

import pytest

from cluster.errors import ClusterError
from pipeline import workers
from pipeline.config import RunConfig
from pipeline.presets import DEBUG
from pipeline.workers import reserve_resources


def reserved(
    monkeypatch: pytest.MonkeyPatch, config: RunConfig, **largest: int
) -> tuple[workers.Reservation, list[dict[str, float]]]:
    """With a cluster whose largest node has so much."""
    asked: list[dict[str, float]] = []
    monkeypatch.setattr(workers, "largest_node", lambda resource: largest.get(resource, 0))
    monkeypatch.setattr(workers, "reserve", lambda config, bundles, labels: asked.extend(bundles))
    return reserve_resources(config), asked


def with_processes(collectors: int, evaluators: int) -> RunConfig:
    collection = DEBUG.collection.model_copy(update={"num_collectors": collectors})
    evaluation = DEBUG.evaluation.model_copy(update={"num_evaluators": evaluators})
    return DEBUG.model_copy(update={"collection": collection, "evaluation": evaluation})


def test_without_a_gpu_everything_is_on_the_cpu(monkeypatch: pytest.MonkeyPatch):
    reservation, asked = reserved(monkeypatch, with_processes(3, 1), CPU=8)
    assert asked == [{"CPU": 8}]
    assert reservation.device == "cpu"
    assert [each.num_gpus for each in (reservation.store, *reservation.acting, *reservation.learners)] == [0] * 5


@pytest.mark.parametrize(("collectors", "evaluators"), [(1, 1), (2, 1), (16, 7)])
def test_one_gpu_is_shared_by_the_learner_and_all_who_act(
    monkeypatch: pytest.MonkeyPatch, collectors: int, evaluators: int
):
    reservation, asked = reserved(monkeypatch, with_processes(collectors, evaluators), CPU=32, GPU=4)
    assert [bundle["GPU"] for bundle in asked] == [1]
    assert reservation.device == "cuda"
    (share,) = {each.num_gpus for each in reservation.acting}
    assert share > 0
    units = round(share * 1e4)
    assert share == pytest.approx(units / 1e4, abs=1e-12)  # Ray rounds to these
    assert 0.99 < reservation.learners[0].num_gpus + (collectors + evaluators) * units / 1e4 <= 1
    assert reservation.store.num_gpus == 0


def test_a_run_may_take_a_share_of_a_gpu(monkeypatch: pytest.MonkeyPatch):
    config = in_cluster(with_processes(3, 1), gpu_share=0.25)
    reservation, asked = reserved(monkeypatch, config, CPU=32, GPU=4)
    assert asked == [{"CPU": 4, "GPU": 0.25}]
    assert reservation.learners[0].num_gpus == 0.125
    assert 0 < sum(each.num_gpus for each in reservation.acting) + reservation.acting[0].num_gpus <= 0.125


def test_who_acts_may_be_spread_over_the_nodes(monkeypatch: pytest.MonkeyPatch):
    reservation, asked = reserved(monkeypatch, in_cluster(with_processes(2, 3), acting="spread"), CPU=8, GPU=1)
    assert asked == [{"CPU": 4, "GPU": 1}, {"CPU": 1}, {"CPU": 1}, {"CPU": 1}]
    assert [(each.bundle, each.num_gpus) for each in reservation.acting] == [(1, 0.0), (2, 0.0), (3, 0.0)]
    assert (reservation.learners[0].bundle, reservation.store.bundle) == (0, 0)


def in_cluster(config: RunConfig, **changes: object) -> RunConfig:
    return config.model_copy(update={"cluster": config.cluster.model_copy(update=changes)})


def test_a_gpu_that_is_not_there_is_missed_before_anything_starts(monkeypatch: pytest.MonkeyPatch):
    config = in_cluster(DEBUG, device="cuda")
    with pytest.raises(ClusterError, match="found no node with a GPU, expected at least one"):
        reserved(monkeypatch, config, CPU=8)


def test_each_part_may_have_a_learner_of_its_own_and_each_learner_several_processes(monkeypatch: pytest.MonkeyPatch):
    config = in_cluster(with_processes(2, 1), learners="split", data_parallel=2, acting="spread")
    reservation, asked = reserved(monkeypatch, config, CPU=32, GPU=8)
    assert asked == [{"CPU": 4, "GPU": 1}] * 6 + [{"CPU": 1}] * 2
    assert [(each.bundle, each.num_gpus) for each in reservation.learners] == [(index, 1.0) for index in range(6)]
    assert [each.bundle for each in reservation.acting] == [6, 7]
    beside, asked = reserved(monkeypatch, in_cluster(config, acting="beside"), CPU=32, GPU=8)
    assert asked == [{"CPU": 4, "GPU": 1}] * 6
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
    monkeypatch: pytest.MonkeyPatch, learners: str, acting: str, schedule: str, bundles: list[int], threads: int
):
    config = in_cluster(with_processes(2, 1), learners=learners, acting=acting)
    reservation, asked = reserved(monkeypatch, config.model_copy(update={"schedule": schedule}), CPU=8)
    assert asked == [{"CPU": cpus} for cpus in bundles]
    assert {each.threads for each in reservation.learners} == {threads}


def test_who_is_spread_may_be_kept_to_nodes_of_one_label(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(workers, "largest_node", lambda resource: {"CPU": 8}.get(resource, 0))
    monkeypatch.setattr(workers, "reserve", lambda config, bundles, labels: asked.append(labels))
    reserve_resources(in_cluster(with_processes(2, 1), acting="spread", acting_on="pool=cpu"))
    assert asked == [[{}, {"pool": "cpu"}, {"pool": "cpu"}]]
