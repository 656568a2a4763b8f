"""Legend: B batch, T time, H imagined transitions, A = 3 actions."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from learners.dreaming.actor_critic import ActorCritic
from learners.dreaming.dream import Dreams
from learners.dreaming.imagination import Imagined, actor_critic_loss, imagine
from learners.dreaming.value_head import ScalarValue
from learners.nn.sampling import uniforms
from learners.part import Segments
from tests.learners.fakes import FEATURE_SHAPE, NUM_ACTIONS, TINY_ACTOR_CRITIC

CONFIG = TINY_ACTOR_CRITIC.model_copy(update={"discount": 0.5, "lambda_": 0.5, "entropy_weight": 0.1})


def test_the_loss_by_hand():
    """H = 1, γ = λ = ½: G = 1 + ½·4 = 3, V = 1, so the advantage is 2; two equally likely of two actions."""
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    values = torch.tensor([[1.0, 4.0]], requires_grad=True)
    imagined = Imagined(
        features=torch.empty(0),
        actions=torch.tensor([[1]]),
        rewards=torch.tensor([[1.0]]),
        ends=torch.tensor([[False]]),
        state=(torch.empty(0), torch.empty(0)),
    )
    terms, metrics = actor_critic_loss(
        logits[:, :-1], values[:, :-1], values.detach(), imagined, ScalarValue(1), CONFIG
    )
    assert terms["policy"].value.item() == pytest.approx(2 * math.log(2))
    assert terms["value"].value.item() == pytest.approx(4.0)
    assert terms["entropy"].value.item() == pytest.approx(-0.1 * math.log(2))
    assert metrics["return_mean"].item() == 3.0
    (terms["policy"].value + terms["value"].value).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[-4.0, 0.0]]  # of (V − G)² alone; the bootstrap takes none
    assert logits.grad is not None
    assert logits.grad[0, 0].tolist() == [1.0, -1.0]  # advantage · (π − onehot)
    assert not logits.grad[0, 1].any()  # the last imagined frame only bootstraps


class Counting:
    """A world model whose features say which step they belong to; reward = action, the end comes at step 2."""

    feature_shape = FEATURE_SHAPE
    noise_per_step = 1

    def __init__(self) -> None:
        self.actions: list[Tensor] = []

    def context_features(self, context: Segments) -> Tensor:
        return context.columns["frames"].float() / 255.0

    def dream(self, context: Segments) -> "Counting":
        self.features = [torch.full((len(context.actions), *FEATURE_SHAPE), 0.0)]
        return self

    def step(self, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        step = len(self.features)
        self.actions.append(actions)
        self.features.append(torch.full_like(self.features[0], float(step)))
        return actions.float(), torch.full((len(actions),), step == 2)


def context(batch_size: int, length: int) -> Segments:
    zeros = torch.zeros(batch_size, length)
    frames = torch.randint(256, (batch_size, length, *FEATURE_SHAPE), dtype=torch.uint8)
    mask = torch.ones(batch_size, length, dtype=torch.bool)
    return Segments(zeros.long(), zeros, zeros.bool(), mask, {"frames": frames})


def roll_out(
    world_model: Counting, actor_critic: ActorCritic, start: Segments, num_steps: int, *, seed: int
) -> Imagined:
    model: Dreams = world_model  # type: ignore[assignment]
    noise = uniforms((num_steps, len(start.actions), 1 + model.noise_per_step), torch.Generator().manual_seed(seed))
    return imagine(model, actor_critic, start, noise)


def test_a_reward_belongs_to_the_action_that_caused_it(actor_critic: ActorCritic):
    world_model = Counting()
    imagined = roll_out(world_model, actor_critic, context(64, 3), 4, seed=0)
    assert imagined.features.shape == (64, 5, *FEATURE_SHAPE)
    assert imagined.features[0, :, 0, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert torch.equal(imagined.rewards, imagined.actions.float())
    assert torch.equal(imagined.actions, torch.stack(world_model.actions, dim=1))
    assert imagined.ends.tolist() == [[False, True, False, False]] * 64
    assert len(imagined.actions.unique()) == NUM_ACTIONS


def test_imagined_actions_follow_the_policy_after_the_burn_in(actor_critic: ActorCritic):
    """The gradient pass from the burned-in state must see the very logits the actions were drawn from."""
    start = context(512, 3)
    imagined = roll_out(Counting(), actor_critic, start, 3, seed=0)
    burned_in = actor_critic.burn_in(start.columns["frames"][:, :-1].float() / 255.0, start.mask[:, :-1])
    torch.testing.assert_close(imagined.state, burned_in)
    logits, _ = actor_critic.unroll(imagined.features, imagined.state)
    expected = Categorical(logits=logits[:, :-1]).probs.mean(dim=0)  # (H, A)
    counts = torch.stack([(imagined.actions == action).float().mean(dim=0) for action in range(NUM_ACTIONS)], dim=1)
    assert ((counts - expected).abs() < 4 * (0.25 / 512) ** 0.5).all()


def test_the_same_generator_imagines_the_same(actor_critic: ActorCritic):
    start = context(4, 3)
    first, second = (roll_out(Counting(), actor_critic, start, 3, seed=5) for _ in range(2))
    assert torch.equal(first.actions, second.actions)


def test_nothing_is_learnt_after_an_imagined_end_where_so_set():
    """The first trajectory ends with its first reward: its second step may hold anything."""
    config = CONFIG.model_copy(update={"learn_after_end": False})

    def terms(garbage: float) -> list[float]:
        imagined = Imagined(
            features=torch.empty(0),
            actions=torch.tensor([[1, 0], [1, 0]]),
            rewards=torch.tensor([[1.0, garbage], [1.0, 2.0]]),
            ends=torch.tensor([[True, garbage > 0], [False, False]]),
            state=(torch.empty(0), torch.empty(0)),
        )
        logits = torch.zeros(2, 3, 2)
        logits[0, 1, 0] = garbage
        values = torch.tensor([[0.5, garbage, garbage], [0.5, 0.25, 0.0]])
        arguments = logits[:, :-1], values[:, :-1], values, imagined, ScalarValue(1), config
        return [term.value.item() for term in actor_critic_loss(*arguments)[0].values()]

    assert terms(0.0) == terms(7.0)
    assert CONFIG.learn_after_end  # as the paper does
