"""The algorithm behind the seam: its columns, its drawings, its codebook, its policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.algorithm import AgentConfig
from learners.config import DatasetConfig, LearnerConfig
from learners.delta_iris.delta_iris import DeltaIris
from learners.learner import Learner
from learners.part import Losses, Segments, to_unit
from tests.learners.fakes import ACTION_SPACE, TINY_AGENTS, TINY_DELTA_IRIS, make_chunk

Loss = Callable[[Segments, Tensor], Losses]


def learner(**tokenizer: object) -> tuple[Learner, DeltaIris]:
    config = TINY_DELTA_IRIS.model_copy(update={"tokenizer": TINY_DELTA_IRIS.tokenizer.model_copy(update=tokenizer)})
    made = Learner(AgentConfig(config, ACTION_SPACE), DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    chunk = make_chunk([5, 4])
    noise = np.random.default_rng(0).integers(256, size=chunk.frames.shape, dtype=np.uint8)
    made.extend([chunk.__class__(**{**vars(chunk), "frames": noise})])
    algorithm = made.algorithm
    assert isinstance(algorithm, DeltaIris)
    return made, algorithm


@pytest.mark.parametrize("context_frames", [1, 2])
def test_tokens_are_those_of_the_transition_to_each_frame_and_to_the_black_ones_around_an_episode(context_frames: int):
    made, algorithm = learner(context_frames=context_frames)
    rows = np.array([[0, 1, 2, 3, 4, 5, 0, 0, 0]])
    segments = made.dataset.gather(rows, ("frames", "tokens"))
    frames, actions = to_unit(segments.columns["frames"][0]), segments.actions[0]
    black, nothing = torch.zeros(context_frames, *frames.shape[1:]), torch.zeros(context_frames, dtype=torch.int64)
    frames, actions = torch.cat([black, frames]), torch.cat([nothing, actions])
    for place, found in enumerate(segments.columns["tokens"][0]):
        here = place + context_frames
        past = slice(here - context_frames, here)
        expected = algorithm.tokenizer.encode(frames[past][None], actions[past][None], frames[here][None])
        assert torch.equal(found, expected[0]), place


def test_the_codebook_moves_by_the_batch_and_a_step_that_is_not_taken_leaves_it():
    made, algorithm = learner()
    codebook = algorithm.tokenizer.codebook
    before = {name: tensor.clone() for name, tensor in codebook.state_dict().items()}
    made.train("tokenizer", 1, range(1))
    assert codebook.updates == 1
    assert not torch.equal(codebook.codewords, before["codewords"])
    trainer = made._trainers["tokenizer"]
    trainer._diverged.fill_(1.0)
    moved = {name: tensor.clone() for name, tensor in codebook.state_dict().items()}
    made.train("tokenizer", 1, range(1, 2))
    assert all(torch.equal(tensor, moved[name]) for name, tensor in codebook.state_dict().items())


def test_measuring_moves_no_codeword():
    made, algorithm = learner()
    before = {name: tensor.clone() for name, tensor in algorithm.tokenizer.codebook.state_dict().items()}
    made.inspect(1)
    assert all(torch.equal(before[name], each) for name, each in algorithm.tokenizer.codebook.state_dict().items())


def test_the_policy_acts_on_true_frames_and_sees_the_black_ones_before_an_episode():
    _, algorithm = learner()
    actor, online = algorithm.actor(), algorithm.actor_critic.online
    frames = np.random.default_rng(0).integers(256, size=(2, 2, 3, 64, 64), dtype=np.uint8)
    mask = np.array([[False, True], [True, True]])
    frames[0, 0] = 0
    found = actor.burn_in(frames, np.zeros((2, 2), dtype=np.int32), mask)
    seen = torch.from_numpy(frames).float() / 255.0
    state = online.initial_state(2)
    with torch.no_grad():
        for t in range(2):
            _, _, state = online(seen[:, t], state)
    torch.testing.assert_close(found, state)


def test_returns_and_baseline_are_made_of_the_targets_values_and_the_target_moves_before_the_step():
    made, algorithm = learner()
    networks, rate = algorithm.actor_critic, TINY_DELTA_IRIS.actor_critic.target_rate
    nn.init.constant_(networks.target.value.bias, 7.0)  # its weights are zero at first
    assert made.train("actor_critic", 1, range(1))["value_mean"] == 7.0
    networks.online.policy.weight.data.add_(1.0)
    slow, fast = networks.target.policy.weight.clone(), networks.online.policy.weight.clone()
    made.train("actor_critic", 1, range(1, 2))
    torch.testing.assert_close(networks.target.policy.weight, (1.0 - rate) * slow + rate * fast)
    assert not torch.equal(networks.online.policy.weight, fast)


def test_dreams_start_from_segments_that_end_within_their_episode_and_models_learn_of_what_lies_around_it():
    made, _ = learner()
    padded = {}
    for name, part in made.parts.items():
        rows = np.concatenate([made._draw(part, 1, step) for step in range(50)])
        padded[name] = bool((rows[:, 0] == 0).any()), bool((rows[:, -1] == 0).any())
    assert padded == {"tokenizer": (True, True), "world_model": (True, True), "actor_critic": (True, False)}


def test_the_policy_learns_in_full_precision():
    made = Learner(
        TINY_AGENTS["delta-iris"], DatasetConfig(), LearnerConfig(precision="bfloat16"), seed=0, device="cpu"
    )
    made.extend([make_chunk([5, 4])])
    mixed = {}
    for name, trainer in made._trainers.items():

        def loss(segments: Segments, noise: Tensor, name: str = name, whole: Loss = trainer.part.loss) -> Losses:
            mixed[name] = torch.is_autocast_enabled("cpu")
            return whole(segments, noise)

        trainer.part = replace(trainer.part, loss=loss)
        made.train(name, 1, range(1))
    assert mixed == {"tokenizer": True, "world_model": True, "actor_critic": False}


def test_rewards_are_learnt_by_sign_or_size():
    rewards = torch.tensor([-3.0, 0.0, 0.5])
    world_model = TINY_DELTA_IRIS.world_model.model_copy(update={"rewards": "two_hot"})
    sized = TINY_DELTA_IRIS.model_copy(update={"world_model": world_model})
    assert TINY_DELTA_IRIS.build(ACTION_SPACE).dreamt_rewards(rewards).tolist() == [-1.0, 0.0, 1.0]
    assert sized.build(ACTION_SPACE).dreamt_rewards(rewards).tolist() == rewards.tolist()


def test_two_ranks_may_train_it_without_revival_only():
    TINY_AGENTS["delta-iris"].algorithm.check_ranks(1)
    with pytest.raises(ValueError, match=r"expected 1 with tokenizer.revive"):
        TINY_DELTA_IRIS.check_ranks(2)
    config = TINY_DELTA_IRIS.model_copy(
        update={"tokenizer": TINY_DELTA_IRIS.tokenizer.model_copy(update={"revive": False})}
    )
    config.check_ranks(2)
