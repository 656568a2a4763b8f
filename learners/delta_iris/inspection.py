"""What the tokens of Δ-IRIS carry: what becomes of a frame under tokens that mean something, and how uncertain each is.

Legend: T steps, K tokens per frame, n frames of context.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.delta_iris.dream import DeltaIrisDream
from learners.delta_iris.gpt import Gpt
from learners.delta_iris.tokenizer import Tokenizer
from learners.inspection import Chart, Film, Panel, Picture
from learners.nn.sampling import uniforms
from learners.part import Segments, to_unit


@torch.no_grad()
def token_pictures(tokenizer: Tokenizer, gpt: Gpt, segment: Segments, generator: torch.Generator) -> dict[str, Picture]:
    """Of one piece of an episode (1, T) with `frames` and `tokens`.

    `continuations`: what really came after its first frame, what the world model dreams under the same actions, and
    what the tokenizer draws under the same actions if all tokens are drawn at random. `token_entropy`: entropy in bits
    of each token's prediction at every transition; an encoder that leaves to tokens only what nobody could foretell
    would have them as large as log2 V where something new appears, and 0 elsewhere.
    """
    frames, actions, tokens = to_unit(segment.columns["frames"]), segment.actions, segment.columns["tokens"]
    steps, per_frame = frames.shape[1], gpt.tokens_per_frame
    noise = uniforms((steps, 1, per_frame + 2), generator)
    dream = DeltaIrisDream(tokenizer, gpt, frames[:, :1], actions[:, :1], tokens[:, :1])
    for t in range(steps - 1):
        dream.step(actions[:, t], noise[t])
    drawn = uniforms((steps, 1, per_frame), generator).mul(tokenizer.config.vocab_size).long()
    columns = (frames[0], torch.cat(dream.features), _continued(tokenizer, frames[:, 0], actions, drawn))
    film = Film([each.mul(255.0).round().to(torch.uint8).cpu().numpy() for each in columns])
    blocks = min(steps, gpt.config.max_blocks)
    logits = gpt(frames[:, :blocks], actions[:, :blocks], tokens[:, 1:blocks]).tokens[0]  # (T − 1, K, V)
    log_probabilities = logits.double().log_softmax(dim=-1)
    bits = -(log_probabilities.exp() * log_probabilities).sum(dim=-1) / torch.log(torch.tensor(2.0)).double()
    curves = {f"token {k + 1}": bits[:, k].cpu().numpy() for k in range(per_frame)}
    return {"continuations": film, "token_entropy": Chart([Panel("tokens of a transition", "step", "bits", curves)])}


def _continued(tokenizer: Tokenizer, start: Tensor, actions: Tensor, tokens: Tensor) -> Tensor:
    """Frames (T, 3, 64, 64) from a start (1, 3, 64, 64) on, under actions (1, T) and tokens (T, 1, K)."""
    context = tokenizer.config.context_frames
    frames, taken = (
        [torch.zeros_like(start)] * (context - 1) + [start],
        [torch.zeros_like(actions[:, 0])] * (context - 1),
    )
    for t in range(actions.shape[1] - 1):
        taken = [*taken, actions[:, t]][-context:]
        frames.append(tokenizer.decode(torch.stack(frames[-context:], 1), torch.stack(taken, 1), tokens[t]))
    return torch.cat(frames[context - 1 :])
