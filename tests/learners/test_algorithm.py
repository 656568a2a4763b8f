"""An algorithm that is not what it says of itself is one line, before it trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from learners.action_space import Discrete
from learners.algorithm import AgentConfig, check_algorithm
from learners.config import DatasetConfig, LearnerConfig, PartTraining
from learners.errors import AlgorithmError
from learners.learner import Learner
from learners.part import Derived, Losses, Part
from tests.examples.latent_shooting import LatentShooting, LatentShootingConfig
from tests.learners.fakes import TINY_IRIS, make_chunk

CONFIG = LatentShootingConfig()
AGENT = AgentConfig(CONFIG, Discrete(3))


class Changed(LatentShooting):
    """The example with another list of parts, or of columns."""

    def __init__(self, change: Callable[[Part], list[Part]], derived: dict[str, Derived]) -> None:
        super().__init__(CONFIG, Discrete(3))
        self._change = change
        self.derived = derived

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(self._change(super().parts[0]))


def derived(part: str = "model", source: str = "frames") -> Derived:
    return Derived(part, lambda steps: steps.rewards, (source,))


@pytest.mark.parametrize(
    ("change", "columns", "words"),
    [
        (lambda part: [replace(part, name="modle")], {}, r"found the parts \['modle'\], expected \['model'\], as its"),
        (lambda part: [], {}, r"found the parts \[\], expected \['model'\]"),
        (
            lambda part: [replace(part, columns=("frame",))],
            {},
            r"part 'model' reads \['frame'\], expected some of",
        ),
        (lambda part: [part], {"x": derived("modle")}, r"column 'x' is derived from part 'modle', not of \['model'\]"),
        (lambda part: [part], {"x": derived(source="y")}, r"column 'x' from 'y': expected 'frames' in the end"),
        (
            lambda part: [part],
            {"x": derived(source="y"), "y": derived(source="x")},
            r"column 'x' from 'y' from 'x': expected 'frames' in the end, each column once",
        ),
        (
            lambda part: [replace(part, columns=("x",))],
            {"x": derived()},
            r"column 'x' of part 'model', expected of parts before it only, \[\]",
        ),
    ],
)
def test_what_does_not_go_together_is_named(change: Any, columns: dict[str, Derived], words: str):
    with pytest.raises(AlgorithmError, match=rf"^latent-shooting: {words}"):
        check_algorithm(Changed(change, columns), CONFIG)


def test_parts_in_another_order_than_they_train_are_refused():
    iris = TINY_IRIS.build(Discrete(3))
    parts = type(iris).parts.fget(iris)  # type: ignore[attr-defined]

    class Swapped:
        derived = iris.derived

        def __init__(self) -> None:
            self.parts = (parts[1], parts[0], parts[2])

    with pytest.raises(AlgorithmError, match=r"found the parts .*world_model.*, expected"):
        check_algorithm(Swapped(), TINY_IRIS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (torch.zeros(()), "its loss returned Tensor, expected Losses of Mean terms"),
        (Losses({"a": torch.zeros(())}, {}), "its loss returned Tensor, expected"),  # type: ignore[dict-item]
        (Losses({}, {}), "its loss returned no terms, expected"),
    ],
)
def test_a_loss_of_another_form_is_named_with_its_part(returned: Any, words: str):
    learner = Learner(AGENT, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    learner.extend([make_chunk([12])])
    trainer = learner._trainers["model"]
    trainer.part = replace(trainer.part, loss=lambda segments, noise: returned)
    with pytest.raises(AlgorithmError, match=f"^part 'model': {words}"):
        learner.train("model", 1, range(1))


def test_derived_columns_are_computed_without_gradient():
    learner = Learner(AGENT, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    weight = torch.ones((), requires_grad=True)
    learner.dataset.columns._derived = {"x": Derived("model", lambda steps: steps.rewards * weight)}
    learner.extend([make_chunk([3])])
    segments = learner.dataset.gather(learner.dataset.newest(3), ("x",))
    assert not segments.columns["x"].requires_grad


class Misnamed(LatentShootingConfig):
    @property
    def trainings(self) -> dict[str, PartTraining]:
        return {"modle": self.training}


def test_an_agent_is_checked_when_it_is_built():
    with pytest.raises(AlgorithmError, match=r"found the parts \['model'\], expected \['modle'\]"):
        AgentConfig(Misnamed(), Discrete(3)).build()


@pytest.mark.parametrize("features", [10**12, 10**30])
def test_networks_that_no_memory_holds_are_one_line(features: int):
    with pytest.raises(AlgorithmError, match=r"^latent-shooting: networks too large for this machine: ") as error:
        AgentConfig(LatentShootingConfig(features=features), Discrete(3)).build()
    assert "\n" not in str(error.value)
