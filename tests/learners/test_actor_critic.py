"""Legend: B batch, T time, H imagined transitions, A = 3 actions."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from learners.actor_critic import ActorCritic, Imagined, actor_critic_loss, imagine
from learners.config import ActorCriticConfig
from learners.learner import count_parameters
from learners.world_model import Segments
from tests.learners.fakes import NUM_ACTIONS, TINY_ACTOR_CRITIC

SHAPE = (3, 64, 64)
CONFIG = TINY_ACTOR_CRITIC.model_copy(update={"discount": 0.5, "lambda_": 0.5, "entropy_weight": 0.1})


@pytest.fixture
def actor_critic() -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(TINY_ACTOR_CRITIC, SHAPE, NUM_ACTIONS)


def test_the_papers_actor_critic_has_the_papers_parameters():
    assert count_parameters(ActorCritic(ActorCriticConfig(), SHAPE, 6)) == 3_218_983


@torch.no_grad()
def test_one_unrolled_pass_equals_single_steps(actor_critic: ActorCritic):
    features = torch.rand(2, 5, *SHAPE)
    logits, values = actor_critic.unroll(features, actor_critic.initial_state(2))
    state = actor_critic.initial_state(2)
    for t in range(5):
        step_logits, step_values, state = actor_critic(features[:, t], state)
        torch.testing.assert_close(logits[:, t], step_logits)
        torch.testing.assert_close(values[:, t], step_values)


def test_padded_burn_in_frames_are_skipped(actor_critic: ActorCritic):
    features = torch.rand(2, 4, *SHAPE)
    mask = torch.tensor([[False, False, True, True], [True, True, True, True]])
    padded = actor_critic.burn_in(features, mask)
    short = actor_critic.burn_in(features[:1, 2:], mask[:1, 2:])
    for whole, part in zip(padded, short, strict=True):
        torch.testing.assert_close(whole[:1], part)


def test_without_real_frames_the_state_stays_zero(actor_critic: ActorCritic):
    hidden, cell = actor_critic.burn_in(torch.rand(1, 3, *SHAPE), torch.zeros(1, 3, dtype=torch.bool))
    assert not hidden.any()
    assert not cell.any()


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
    terms, metrics = actor_critic_loss(logits, values, imagined, CONFIG)
    assert terms["policy"].item() == pytest.approx(2 * math.log(2))
    assert terms["value"].item() == pytest.approx(4.0)
    assert terms["entropy"].item() == pytest.approx(-0.1 * math.log(2))
    assert metrics["return_mean"].item() == 3.0
    (terms["policy"] + terms["value"]).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[-4.0, 0.0]]  # of (V − G)² alone; the bootstrap takes none
    assert logits.grad is not None
    assert logits.grad[0, 0].tolist() == [1.0, -1.0]  # advantage · (π − onehot)
    assert not logits.grad[0, 1].any()  # the last imagined frame only bootstraps


class Counting:
    """A world model whose features say which step they belong to; reward = action, the end comes at step 2."""

    feature_shape = SHAPE
    noise_per_step = 1

    def __init__(self) -> None:
        self.noise: Tensor | None = None
        self.actions: list[Tensor] = []

    def context_features(self, context: Segments) -> Tensor:
        return context.frames.float() / 255.0

    def dream(self, context: Segments, noise: Tensor) -> "Counting":
        self.noise = noise
        self.features = [torch.full((len(context.actions), *SHAPE), 0.0)]
        return self

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        step = len(self.features)
        self.actions.append(actions)
        self.features.append(torch.full_like(self.features[0], float(step)))
        return actions.float(), torch.full((len(actions),), step == 2)


def context(batch_size: int, length: int) -> Segments:
    zeros = torch.zeros(batch_size, length)
    frames = torch.randint(256, (batch_size, length, *SHAPE), dtype=torch.uint8)
    return Segments(frames, zeros.long(), zeros, zeros.bool(), torch.ones(batch_size, length, dtype=torch.bool))


def test_a_reward_belongs_to_the_action_that_caused_it(actor_critic: ActorCritic):
    world_model = Counting()
    imagined = imagine(world_model, actor_critic, context(64, 3), 4, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert imagined.features.shape == (64, 5, *SHAPE)
    assert imagined.features[0, :, 0, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert torch.equal(imagined.rewards, imagined.actions.float())
    assert torch.equal(imagined.actions, torch.stack(world_model.actions, dim=1))
    assert imagined.ends.tolist() == [[False, True, False, False]] * 64
    assert len(imagined.actions.unique()) == NUM_ACTIONS


def test_imagined_actions_follow_the_policy_after_the_burn_in(actor_critic: ActorCritic):
    """The gradient pass from the burned-in state must see the very logits the actions were drawn from."""
    start = context(512, 3)
    imagined = imagine(Counting(), actor_critic, start, 3, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    burned_in = actor_critic.burn_in(start.frames[:, :-1].float() / 255.0, start.mask[:, :-1])
    torch.testing.assert_close(imagined.state, burned_in)
    logits, _ = actor_critic.unroll(imagined.features, imagined.state)
    expected = Categorical(logits=logits[:, :-1]).probs.mean(dim=0)  # (H, A)
    counts = torch.stack([(imagined.actions == action).float().mean(dim=0) for action in range(NUM_ACTIONS)], dim=1)
    assert ((counts - expected).abs() < 4 * (0.25 / 512) ** 0.5).all()


def test_the_same_generator_imagines_the_same(actor_critic: ActorCritic):
    start = context(4, 3)
    first, second = (
        imagine(Counting(), actor_critic, start, 3, torch.Generator().manual_seed(5))  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert torch.equal(first.actions, second.actions)
