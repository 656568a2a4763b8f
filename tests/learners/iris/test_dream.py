"""The cached dream against an oracle that runs the whole sequence anew for every token."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from learners.iris.dream import IrisDream
from learners.iris.gpt import Gpt
from learners.iris.tokenizer import Tokenizer
from learners.nn.sampling import sample_categorical
from tests.learners.fakes import NUM_ACTIONS, TINY_IRIS

B, K, V = 3, 4, 16


@dataclass
class Oracle:
    """Dreams without a cache: `tokens` and `actions` of all blocks since the last restart."""

    gpt: Gpt
    tokens: list[Tensor]  # each (B, K)
    actions: list[Tensor]  # each (B,)

    def step(self, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if len(self.tokens) == self.gpt.config.max_blocks:
            self.tokens, self.actions = self.tokens[-1:], []
        self.actions.append(actions)
        hidden = self._hidden([])
        reward = sample_categorical(self.gpt.reward_head(hidden), noise[:, 0]).float() - 1.0
        end = sample_categorical(self.gpt.end_head(hidden), noise[:, 1]).bool()
        drawn: list[Tensor] = []
        for k in range(K):
            drawn.append(sample_categorical(self.gpt.token_head(self._hidden(drawn)), noise[:, 2 + k]))
        self.tokens.append(torch.stack(drawn, dim=1))
        return reward, end, self.tokens[-1]

    def _hidden(self, drawn: list[Tensor]) -> Tensor:
        """Hidden state (B, E) at the last position of all blocks and the tokens drawn so far."""
        embedded = []
        for tokens, actions in zip(self.tokens, self.actions, strict=True):
            embedded += [self.gpt.token_embedding(tokens), self.gpt.action_embedding(actions).unsqueeze(1)]
        embedded += [self.gpt.token_embedding(token.unsqueeze(1)) for token in drawn]
        return self.gpt.advance(torch.cat(embedded, dim=1))[:, -1]


@pytest.fixture(params=["joint", "factorised"])
def networks(request: pytest.FixtureRequest) -> tuple[Tokenizer, Gpt]:
    torch.manual_seed(0)
    config = TINY_IRIS.world_model.model_copy(update={"positions": request.param})
    gpt = Gpt(config, vocab_size=V, tokens_per_frame=K, num_actions=NUM_ACTIONS).eval()
    for parameter in gpt.parameters():
        parameter.data.mul_(10.0) if parameter.ndim > 1 else None
    return Tokenizer(TINY_IRIS.tokenizer).eval(), gpt


@torch.no_grad()
@pytest.mark.parametrize("num_steps", [2, 7])
def test_a_dream_equals_the_uncached_oracle_even_beyond_its_context(networks: tuple[Tokenizer, Gpt], num_steps: int):
    """max_blocks is 3: two steps fill the context, seven restart it three times."""
    tokenizer, gpt = networks
    start, noise = torch.randint(V, (B, K)), torch.rand(num_steps, B, K + 2)
    dream, oracle = IrisDream(tokenizer, gpt, start), Oracle(gpt, [start], [])
    for t in range(num_steps):
        actions = torch.randint(NUM_ACTIONS, (B,))
        rewards, ends = dream.step(actions, noise[t])
        expected_rewards, expected_ends, expected_tokens = oracle.step(actions, noise[t])
        assert torch.equal(rewards, expected_rewards)
        assert torch.equal(ends, expected_ends)
        torch.testing.assert_close(dream.features[-1], tokenizer.decode(expected_tokens))
    assert len(dream.features) == num_steps + 1
    torch.testing.assert_close(dream.features[0], tokenizer.decode(start))


def test_a_step_costs_as_many_transformer_calls_as_a_frame_has_tokens(
    networks: tuple[Tokenizer, Gpt], monkeypatch: pytest.MonkeyPatch
):
    tokenizer, gpt = networks
    calls, advance = [], gpt.advance
    monkeypatch.setattr(
        gpt, "advance", lambda embedded, cache: calls.append(embedded.shape[1]) or advance(embedded, cache)
    )
    dream = IrisDream(tokenizer, gpt, torch.randint(V, (B, K)))
    dream.step(torch.zeros(B, dtype=torch.long), torch.rand(B, K + 2))
    dream.step(torch.zeros(B, dtype=torch.long), torch.rand(B, K + 2))
    assert calls == [K + 1, 1, 1, 1, 2, 1, 1, 1]
