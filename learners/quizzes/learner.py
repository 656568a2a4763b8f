"""One of the models, as a process: it learns, is tested, makes quizzes up and judges them.

Quizzes travel as cells (N, 4, H, H) uint8: a, f(a), b, f(b) of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from learners.durable import write_durably
from learners.quizzes.config import SocietyConfig
from learners.quizzes.culture import Cells, Culture, mixture, quizzes_of
from learners.quizzes.generation import generate
from learners.quizzes.network import QuizGPT
from learners.quizzes.sequences import BACKWARD, Layout
from learners.quizzes.tasks import Grids
from learners.quizzes.training import Epoch, are_solved, make_world
from learners.quizzes.validation import FAILS, Votes, votes
from learners.reading import read_file
from learners.streams import Streams
from learners.weights import flat_weights, load_flat_weights


class QuizLearner:
    """Model `number` of a society. Everything it draws has a stream named by round and model."""

    def __init__(self, config: SocietyConfig, number: int, *, seed: int, device: str = "cpu") -> None:
        self._config, self._number = config, number
        self._streams, self._device = Streams(seed), torch.device(device)
        with torch.random.fork_rng():
            torch.manual_seed(self._streams.key("quizzes/network", number))
            self._network = QuizGPT(config.network, Layout.of(config.world.grid)).to(self._device).eval()
        self._epoch: Epoch | None = None
        self._culture_share = 0.0  # of the last epoch

    def num_parameters(self) -> int:
        return sum(each.numel() for each in self._network.parameters())

    def begin_epoch(self, round_number: int, culture: Cells) -> int:
        """Draws what it learns from in a round: fresh quizzes of the world, and some of the culture so far. How many
        gradient steps that is."""
        config, indices = self._config, (round_number, self._number)
        count = config.training.sequences
        world, _ = make_world(config.world, count, self._streams.numpy("quizzes/world", *indices))
        drawn = self._streams.numpy("quizzes/mixture", *indices)
        most, newest = round(config.culture_share * count), config.newest_first
        mixed = mixture(world, quizzes_of(culture), most, drawn, newest_first=newest)
        self._culture_share = min(most, len(culture)) / count
        self._epoch = Epoch(self._network, config.training, mixed, self._streams, *indices)
        return self._epoch.steps

    def train(self, steps: int) -> None:
        """The next ones of the epoch."""
        assert self._epoch is not None
        self._epoch.run(steps)

    def test(self, round_number: int, held_out: Mapping[int, Culture]) -> dict[str, float]:
        """Shares of quizzes of which the whole answer is right: of the world, and by task; of the culture that nobody
        trains on, by the round that made it up, and of those quizzes that this model failed then; and `accuracy`, of
        `tests` quizzes of which as large a share is culture, the newest, as in the epoch. After an epoch also its loss.

        Raises: DivergedError.
        """
        config = self._config
        found = {"loss": self._epoch.loss} if self._epoch else {}
        self._epoch = None
        made_up = np.zeros(0, np.bool_)
        failed = np.zeros(0, np.bool_)
        for number, culture in held_out.items():
            if len(culture):
                right = are_solved(self._network, culture.quizzes)
                found[f"culture/accuracy/{number}"] = float(right.mean())
                made_up = np.concatenate([made_up, right])
                failed = np.concatenate([failed, culture.votes[:, self._number] == FAILS])
        if len(made_up):
            found["culture/accuracy"] = float(made_up.mean())
        if failed.any():
            found["culture/accuracy of once failed"] = float(made_up[failed].mean())
            found["culture/once failed"] = int(failed.sum())
        from_culture = min(round(self._culture_share * config.tests), len(made_up))
        made_up = made_up[len(made_up) - from_culture :]
        generator = self._streams.numpy("quizzes/tests", round_number, self._number)
        world, tasks = make_world(config.world, config.tests - from_culture, generator)
        solved = are_solved(self._network, world)
        found["world/accuracy"] = float(solved.mean())
        found["world/accuracy backward"] = float(are_solved(self._network, world, BACKWARD).mean())
        for number, task in enumerate(config.world.tasks):
            found[f"world/accuracy/{task}"] = float(solved[tasks == number].mean())
        return found | {"accuracy": float((solved.sum() + made_up.sum()) / config.tests)}

    def generate(self, round_number: int, batch: int) -> tuple[Cells, Grids]:
        """A batch of quizzes that it makes up, and the grids (N, H, H) that they began with."""
        config = self._config.generation
        generator = self._streams.torch(self._device, "quizzes/generation", round_number, self._number, batch)
        made = generate(self._network, config, config.batch, generator)
        return np.stack(made.quizzes, axis=1), made.first

    def judge(self, cells: Cells) -> Votes:
        """(N,)."""
        return votes(self._network, self._config.validation, quizzes_of(cells))

    def save(self, directory: str) -> dict[str, str]:
        """Writes its weights; the file's name and sha256."""
        name, data = f"model-{self._number}.bin", flat_weights({"network": self._network}).tobytes()
        write_durably(Path(directory) / name, data)
        return {name: sha256(data).hexdigest()}

    def load(self, directory: str) -> None:
        """Raises ValueError, in one line, if the file is of another network."""
        data = read_file(Path(directory) / f"model-{self._number}.bin")
        load_flat_weights({"network": self._network}, np.frombuffer(data, np.uint8))
        self._epoch = None
