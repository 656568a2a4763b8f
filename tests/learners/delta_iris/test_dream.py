"""The cached dream against an oracle that runs the whole sequence anew for every token."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from learners.delta_iris.dream import DeltaIrisDream
from learners.delta_iris.gpt import Gpt
from learners.delta_iris.tokenizer import Tokenizer
from learners.nn.sampling import sample_categorical
from learners.nn.two_hot import two_hot_mean
from tests.learners.fakes import NUM_ACTIONS, TINY_DELTA_IRIS

B, K, V = 3, 4, 16
MAX_BLOCKS = TINY_DELTA_IRIS.world_model.max_blocks


@dataclass
class Oracle:
    """Dreams without a cache: `frames`, `actions` and `tokens` of all blocks since the last restart."""

    tokenizer: Tokenizer
    gpt: Gpt
    frames: list[Tensor]  # each (B, 3, 64, 64), one more than there are transitions
    actions: list[Tensor]  # each (B,)
    tokens: list[Tensor]  # each (B, K)
    seen: list[Tensor]  # all frames
    taken: list[Tensor]  # all actions

    def step(self, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        if MAX_BLOCKS - len(self.tokens) <= 1:
            self.frames, self.actions, self.tokens = self.frames[-1:], [], []
        self.actions.append(actions)
        self.taken.append(actions)
        hidden = self._hidden([])
        logits = self.gpt.reward_head(hidden)
        sampled = sample_categorical(logits, noise[:, 0]).float() - 1.0
        rewards = sampled if self.gpt.config.rewards == "sign" else two_hot_mean(logits)
        ends = sample_categorical(self.gpt.end_head(hidden), noise[:, 1]).bool()
        drawn: list[Tensor] = []
        for k in range(K):
            drawn.append(sample_categorical(self.gpt.token_head(self._hidden(drawn)), noise[:, 2 + k]))
        n = self.tokenizer.config.context_frames
        black, nothing = [torch.zeros_like(self.seen[0])] * n, [torch.zeros_like(actions)] * n
        previous, taken = torch.stack((black + self.seen)[-n:], 1), torch.stack((nothing + self.taken)[-n:], 1)
        frame = self.tokenizer.decode(previous, taken, torch.stack(drawn, dim=1))
        self.tokens.append(torch.stack(drawn, dim=1))
        self.frames.append(frame)
        self.seen.append(frame)
        return rewards, ends

    def _hidden(self, drawn: list[Tensor]) -> Tensor:
        """Hidden state (B, E) at the last position of all blocks and the tokens drawn so far."""
        embedded = []
        for index, actions in enumerate(self.actions):
            embedded.append(self.gpt.embed_frames(self.frames[index]).unsqueeze(1))
            embedded.append(self.gpt.action_embedding(actions).unsqueeze(1))
            if index < len(self.tokens):
                embedded.append(self.gpt.token_embedding(self.tokens[index]))
        embedded += [self.gpt.token_embedding(token.unsqueeze(1)) for token in drawn]
        return self.gpt.advance(torch.cat(embedded, dim=1))[:, -1]


def networks(context_frames: int, rewards: str) -> tuple[Tokenizer, Gpt]:
    """With weights large enough for draws to depend on what came before."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(TINY_DELTA_IRIS.tokenizer.model_copy(update={"context_frames": context_frames}), NUM_ACTIONS)
    config = TINY_DELTA_IRIS.world_model.model_copy(update={"rewards": rewards})
    gpt = Gpt(config, vocab_size=V, tokens_per_frame=K, num_actions=NUM_ACTIONS)
    for parameter in (*tokenizer.parameters(), *gpt.parameters()):
        parameter.data.mul_(5.0) if parameter.ndim > 1 else None
    return tokenizer.eval(), gpt.eval()


@torch.no_grad()
@pytest.mark.parametrize(("context_frames", "rewards"), [(1, "sign"), (3, "two_hot")])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_dream_equals_the_uncached_oracle_even_beyond_its_context(length: int, context_frames: int, rewards: str):
    """max_blocks is 5: of seven steps after a context of one, the fifth and every fourth after it start anew."""
    tokenizer, gpt = networks(context_frames, rewards)
    frames, tokens = torch.rand(B, length, 3, 64, 64), torch.randint(V, (B, length, K))
    actions, noise = torch.randint(NUM_ACTIONS, (B, length)), torch.rand(7, B, K + 2)
    dream = DeltaIrisDream(tokenizer, gpt, frames, actions, tokens)
    before = list(actions[:, :-1].unbind(1))
    seen = list(frames.unbind(1))
    oracle = Oracle(tokenizer, gpt, [*seen], [*before], list(tokens[:, 1:].unbind(1)), [*seen], [*before])
    for t in range(7):
        chosen = torch.randint(NUM_ACTIONS, (B,))
        rewards_found, ends_found = dream.step(chosen, noise[t])
        rewards_expected, ends_expected = oracle.step(chosen, noise[t])
        torch.testing.assert_close(rewards_found, rewards_expected)
        assert torch.equal(ends_found, ends_expected)
        torch.testing.assert_close(dream.features[-1], oracle.seen[-1])
    assert len(dream.features) == 8
    assert torch.equal(dream.features[0], frames[:, -1])


@torch.no_grad()
def test_a_step_costs_as_many_transformer_calls_as_a_frame_has_tokens(monkeypatch: pytest.MonkeyPatch):
    tokenizer, gpt = networks(1, "sign")
    calls, advance = [], gpt.advance
    monkeypatch.setattr(
        gpt, "advance", lambda embedded, cache: calls.append(embedded.shape[1]) or advance(embedded, cache)
    )
    frames, tokens = torch.rand(B, 2, 3, 64, 64), torch.randint(V, (B, 2, K))
    actions = torch.randint(NUM_ACTIONS, (B, 2))
    dream = DeltaIrisDream(tokenizer, gpt, frames, actions, tokens)
    dream.step(actions[:, 1], torch.rand(B, K + 2))
    dream.step(actions[:, 1], torch.rand(B, K + 2))
    assert calls == [K + 2, 2, 1, 1, 1, 3, 1, 1, 1]


@torch.no_grad()
def test_a_dream_of_the_papers_length_never_starts_anew():
    """5 real blocks and 20 imagined ones; the frame after the last action is no block."""
    tokenizer, gpt = networks(1, "sign")
    horizon = MAX_BLOCKS - 2 - 1
    dream = DeltaIrisDream(
        tokenizer,
        gpt,
        torch.rand(B, 3, 3, 64, 64),
        torch.zeros(B, 3, dtype=torch.int64),
        torch.zeros(B, 3, K, dtype=torch.int64),
    )
    lengths = []
    for _ in range(horizon):
        dream.step(torch.zeros(B, dtype=torch.int64), torch.rand(B, K + 2))
        lengths.append(dream._cache.length)
    block = K + 2  # of which the last token is still to come
    assert lengths == [(2 + steps) * block - 1 for steps in range(1, horizon + 1)]
