"""What a run reserves, and who gets it."""

import pytest

from cluster.errors import ClusterError
from pipeline import workers
from pipeline.config import RunConfig
from pipeline.presets import DEBUG
from pipeline.workers import reserve_resources


def reserved(monkeypatch: pytest.MonkeyPatch, config: RunConfig, **largest: int) -> tuple[workers.Reservation, dict]:
    """With a cluster whose largest node has so much."""
    asked = {}
    monkeypatch.setattr(workers, "largest_node", lambda resource: largest.get(resource, 0))
    monkeypatch.setattr(workers, "reserve", lambda config, **wanted: asked.update(wanted))
    return reserve_resources(config), asked


def with_processes(collectors: int, evaluators: int) -> RunConfig:
    collection = DEBUG.collection.model_copy(update={"num_collectors": collectors})
    evaluation = DEBUG.evaluation.model_copy(update={"num_evaluators": evaluators})
    return DEBUG.model_copy(update={"collection": collection, "evaluation": evaluation})


def test_without_a_gpu_everything_is_on_the_cpu(monkeypatch: pytest.MonkeyPatch):
    reservation, asked = reserved(monkeypatch, with_processes(3, 1), CPU=8)
    assert asked == {"num_cpus": 8, "num_gpus": 0}
    assert reservation.device == "cpu"
    assert [each.num_gpus for each in (reservation.store, reservation.acting, reservation.learner)] == [0, 0, 0]


@pytest.mark.parametrize(("collectors", "evaluators"), [(1, 1), (2, 1), (16, 7)])
def test_one_gpu_is_shared_by_the_learner_and_all_who_act(
    monkeypatch: pytest.MonkeyPatch, collectors: int, evaluators: int
):
    reservation, asked = reserved(monkeypatch, with_processes(collectors, evaluators), CPU=32, GPU=4)
    assert asked["num_gpus"] == 1
    assert reservation.device == "cuda"
    assert reservation.acting.num_gpus > 0
    units = round(reservation.acting.num_gpus * 1e4)
    assert reservation.acting.num_gpus == pytest.approx(units / 1e4, abs=1e-12)  # Ray rounds to these
    assert 0.99 < reservation.learner.num_gpus + (collectors + evaluators) * units / 1e4 <= 1
    assert reservation.store.num_gpus == 0


def test_a_gpu_that_is_not_there_is_missed_before_anything_starts(monkeypatch: pytest.MonkeyPatch):
    config = DEBUG.model_copy(update={"cluster": DEBUG.cluster.model_copy(update={"device": "cuda"})})
    with pytest.raises(ClusterError, match="found no node with a GPU, expected at least one"):
        reserved(monkeypatch, config, CPU=8)
