"""Stand-ins for what computes: they take and give what the real ones do, in milliseconds and without torch.

Everything they return is a hash of all that it may depend on, so two runs end with the same bytes only if every step,
every weight and every random draw was the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.reports import CollectionReport, EpisodeScore
from actors.store import ReplayStore
from actors.store_index import Receipt
from learners.durable import write_durably
from learners.experience import Chunk

PARTS = ("tokenizer", "world_model", "actor_critic")
EPISODE_STEPS = 7
WORK_S = 0.02
"""How long a call takes at least, so that a fault can strike in its middle."""


def _hash(*parts: Any) -> bytes:
    return sha256(repr(parts).encode()).digest()


def _work() -> None:
    time.sleep(WORK_S)


class FakeLearner:
    def __init__(self, store: ReplayStore) -> None:
        self._store = store
        self._weights = {part: _hash("initial", part) for part in PARTS}
        self._mirror: list[tuple[int, bytes]] = []  # iteration and content of every chunk, in order

    def parameter_counts(self) -> dict[str, int]:
        return dict.fromkeys(PARTS, 32)

    def residence(self) -> str:
        return "hashed"

    def truncate(self, last_iteration: int) -> int:
        self._mirror = [(iteration, content) for iteration, content in self._mirror if iteration <= last_iteration]
        return self._mirror[-1][0] if self._mirror else 0

    def mirror(self, iterations: Sequence[Sequence[Receipt]], *, gaps: bool = False) -> int:
        _work()
        for chunk in (chunk for receipts in iterations for chunk in self._store.chunks(receipts)):
            place = chunk.iteration, chunk.environment, chunk.start, chunk.policy_version
            content = [array.tobytes() for array in (chunk.frames, chunk.actions, chunk.rewards, chunk.episode_steps)]
            self._mirror.append((chunk.iteration, _hash(place, content)))
        return len(self._mirror)

    def train(self, part: str, iteration: int, steps: range) -> dict[str, float]:
        _work()
        for step in steps:
            self._weights[part] = _hash(self._weights[part], part, iteration, step, self._mirror)
        return {"loss": self._weights[part][0] / 255}

    def weights(self) -> NDArray[np.uint8]:
        return np.frombuffer(b"".join(self._weights.values()), dtype=np.uint8)

    def copy_of(self, part: str) -> bytes:
        return self._weights[part]

    def adopt(self, part: str, copy: bytes) -> None:
        self._weights[part] = copy

    def save(self, directory: str, parts: Sequence[str]) -> dict[str, str]:
        hashes = {}
        for part in parts:
            write_durably(Path(directory) / f"{part}.safetensors", self._weights[part])
            hashes[f"{part}.safetensors"] = sha256(self._weights[part]).hexdigest()
        return hashes

    def load(self, directory: str) -> None:
        self._weights = {part: (Path(directory) / f"{part}.safetensors").read_bytes() for part in PARTS}

    def inspect(self, iteration: int) -> SimpleNamespace:
        return SimpleNamespace(metrics={"held_out/steps": len(self._mirror)}, remarks=())


class FakeCollector:
    """One environment; its state is how many steps it has taken."""

    def __init__(self, index: int, store: ReplayStore) -> None:
        self._index = index
        self._store = store
        self._taken = 0

    def collect(
        self, iteration: int, num_steps: int, weights: NDArray[np.uint8], policy_version: int
    ) -> tuple[list[Receipt], CollectionReport, bytes]:
        _work()
        taken = np.arange(self._taken, self._taken + num_steps)
        self._taken += num_steps
        seed = int.from_bytes(_hash(iteration, self._index, weights.tobytes())[:8], "little")
        rng = np.random.default_rng(seed)
        chunk = Chunk(
            iteration=iteration,
            environment=self._index,
            start=0,
            policy_version=policy_version,
            frames=np.broadcast_to(rng.integers(256, size=(num_steps, 1, 1, 1)), (num_steps, 3, 64, 64)).astype(
                np.uint8
            ),
            actions=rng.integers(3, size=num_steps).astype(np.int32),
            rewards=rng.integers(-1, 2, size=num_steps).astype(np.float32),
            terminated=taken % EPISODE_STEPS == EPISODE_STEPS - 1,
            truncated=np.zeros(num_steps, dtype=np.bool_),
            episodes=(self._index << 32) + taken // EPISODE_STEPS,
            episode_steps=(taken % EPISODE_STEPS).astype(np.int32),
        )
        report = CollectionReport((1.0,), (EPISODE_STEPS,), ({},))
        return [self._store.write(self._index, 0, [chunk])], report, json.dumps(self._taken).encode()

    def set_state(self, state: bytes) -> None:
        self._taken = json.loads(state)


class FakeEvaluator:
    def play(
        self, iteration: int, batch: int, num_episodes: int, weights: NDArray[np.uint8], *, record: bool = False
    ) -> tuple[list[EpisodeScore], NDArray[np.uint8]]:
        _work()
        scores = _hash(iteration, batch, weights.tobytes())
        return [EpisodeScore(i, float(scores[i]), 7) for i in range(num_episodes)], np.zeros((0, 3, 64, 64), np.uint8)
