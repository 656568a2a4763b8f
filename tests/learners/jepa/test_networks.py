"""What no action decides: outcomes by code, drawn as often as they happen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from learners.jepa.config import LatentConfig, WorldModelConfig
from learners.jepa.losses import chances, predictions
from learners.jepa.networks import WorldModel

SIZE = 8


def world_model(codes: int) -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(WorldModelConfig(features=SIZE, channels=4, hidden=32, latent=LatentConfig(codes=codes)), 2)


def test_without_codes_there_is_one_outcome():
    model, features, actions = world_model(1), torch.randn(5, SIZE), torch.randn(5, 2)
    assert model.prior is None
    assert torch.equal(model.predict(features, actions, torch.rand(5)), model.predict(features, actions))


def test_a_drawn_outcome_is_as_frequent_as_the_prior_says_and_the_likeliest_is_taken_where_none_is_drawn():
    model = world_model(3)
    assert model.prior is not None
    odds = torch.tensor([0.3, 0.6, 0.1])
    last = model.prior[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(odds.log())
    features, actions = torch.randn(1, SIZE).expand(100, -1), torch.randn(1, 2).expand(100, -1)
    every = model.outcomes(features, actions)  # (100, 3, SIZE)
    torch.testing.assert_close(model.predict(features, actions), every[:, 1])
    drawn = model.predict(features, actions, (torch.arange(100) + 0.5) / 100)
    expected = torch.repeat_interleave(torch.tensor([0, 1, 2]), torch.tensor([30, 60, 10]))
    torch.testing.assert_close(drawn, every[torch.arange(100), expected])
    edges = model.predict(features[:2], actions[:2], torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(edges, every[0, [0, 2]])


@pytest.mark.parametrize("count", [1, 4])
def test_it_learns_in_which_proportion_a_step_is_lost_or_doubled(count: int):
    """Features are those of a place to which the action is added not at all, once, or twice."""
    model = world_model(count)

    def seen(at: Tensor) -> Tensor:
        waves = torch.cat([at.cos(), at.sin()], dim=-1)
        return 2**0.5 * torch.cat([waves, -waves], dim=-1)

    def steps(number: int) -> tuple[Tensor, Tensor, Tensor]:
        at, actions = torch.randn(number, 2), nn.functional.normalize(torch.randn(number, 2))
        drawn = torch.rand(number, 1)
        times = torch.where(drawn < 0.3, 0.0, torch.where(drawn < 0.9, 1.0, 2.0))
        return at, actions, torch.stack([seen(at), seen(at + times * actions)], dim=1)

    optimizer = torch.optim.Adam([*model.predictor.parameters(), *(model.prior or nn.Identity()).parameters()], 3e-3)
    for _ in range(1500):
        _, actions, features = steps(128)
        both, codes, loss = actions.unsqueeze(1).expand(-1, 2, -1), None, torch.zeros(())
        if model.prior is not None:
            turns = chances(model.outcomes, features, both, features)
            codes, logits = turns.codes, model.prior(torch.cat([features[:, 0], actions], dim=-1))
            loss = nn.functional.cross_entropy(logits, codes[:, 0]) + 0.01 * turns.errors.mean()
        found = predictions(model.predict_by, features[:, 0], both, 1, codes)
        loss = loss + (found - features[:, 1:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    at, actions, features = steps(2000)
    with torch.no_grad():
        drawn = model.predict(features[:, 0], actions, torch.rand(2000))
    ways = torch.stack([seen(at + times * actions) for times in (0.0, 1.0, 2.0)], dim=1)
    nearest = (drawn.unsqueeze(1) - ways).square().mean(dim=-1).argmin(dim=1)
    shares = torch.bincount(nearest, minlength=3) / 2000
    if count == 1:
        assert shares.max() > 0.7
    else:
        assert shares.tolist() == pytest.approx([0.3, 0.6, 0.1], abs=0.1)
