"""An agent as the last commit of its run holds it, with steps that it can look back on.

Legend: B dreams side by side, T steps of context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from actors.envs.environment import Environment
from actors.experience_reader import ExperienceReader
from actors.store_index import Index, Receipt
from learners.algorithm import Thinks
from learners.dreaming.dream import DrawnDreams
from learners.errors import RecoverableError
from learners.learner import Learner
from learners.memory import ExperienceTooLargeError
from learners.part import Segments
from learners.planning.plans import Plans
from pipeline.checkpoint import Checkpoints
from pipeline.cli import in_one_line
from pipeline.commit_mark import check_commits
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.evaluate import check_modules
from pipeline.run_dir import RunDirectory
from pipeline.train import agent_config, game_of

RECENT_STEPS = 5_000
"""At least so many of the newest steps can be looked back on, in whole files."""
OFFERED = ("observe", "dream", "render", "context_features", "dream_parts", "dream_columns", "noise_per_step")
"""By an algorithm whose dreams can be looked at."""


@dataclass(frozen=True)
class Trained:
    """On a CPU; nothing here trains or writes."""

    config: RunConfig
    iteration: int
    """After which the commit was made."""
    learner: Learner
    game: Environment
    """To ask it what it is."""

    @property
    def title(self) -> str:
        """Of whom something is told."""
        config = self.config
        return in_one_line(f"{config.preset} on {config.game}, seed {config.seed}, after iteration {self.iteration}")

    @property
    def actor(self) -> Any:
        return self.learner.algorithm.actor()

    @property
    def dreams(self) -> DrawnDreams:
        """Its world model. Raises UsageError, in one line, if it has none that can be looked at, or none yet."""
        algorithm = self.learner.algorithm
        if not (all(hasattr(algorithm, name) for name in OFFERED) and isinstance(self.actor, Thinks)):
            words = "found an algorithm without dreams that can be drawn, expected one that has `dream` and `render`"
            raise UsageError(f"{self.config.algorithm.kind}: {words}")
        dreams, updates, trainings = cast(DrawnDreams, algorithm), self.learner.updates(), self.config.trainings
        if missing := [part for part in dreams.dream_parts if not updates[part]]:
            first = 1 + max(trainings[part].starts_after for part in missing)
            names = " and ".join(part.replace("_", " ") for part in missing)
            words = f"found no training of its {names} until iteration {self.iteration}, the last commit"
            raise UsageError(f"no dream yet: {words}; expected it from iteration {first} on")
        return dreams

    @property
    def plans(self) -> Plans:
        """Its algorithm, as one that plans. Raises UsageError, in one line, if it does not."""
        algorithm = self.learner.algorithm
        if not isinstance(algorithm, Plans):
            words = "found an algorithm that does not plan, expected one that does"
            raise UsageError(f"{self.config.algorithm.kind}: {words}")
        return algorithm

    def environment(self, seed: int) -> Environment:
        """As it is played for a score."""
        return self.config.env.build(seed, evaluation=True)

    def context(self, rows: NDArray[np.int64], columns: Sequence[str]) -> Segments:
        """What the agent would have seen until each of the stored steps `rows` (B,): (B, T), padded on the left."""
        dataset = self.learner.dataset
        return dataset.gather(dataset.until(rows, self.actor.history + 1), columns)


def load(path: Path, allow_module: Sequence[str] = ()) -> Trained:
    """The agent of a run, which must not be training while it is read, and may afterwards.

    Raises: UsageError, in one line, if there is no run or no commit, it is in use or damaged; AlgorithmError.
    """
    run = RunDirectory.open(path)
    try:
        config = run.config()
        check_modules(config, allow_module)
        check_commits(run.path, config)
        checkpoint = Checkpoints(run.checkpoints, config.checkpoint.keep).newest()
        if checkpoint is None:
            raise UsageError(f"{run.path}: found no commit, expected at least one iteration")
        if checkpoint.state.identity != config.identity_hash():
            raise UsageError(f"{run.config_file}: not the configuration of checkpoint {checkpoint.path.name}")
        store, agent = run.store(config), agent_config(config)
        how = {"seed": config.seed, "device": "cpu", "experience": ExperienceReader(store)}
        try:
            with _global_settings_kept():
                learner = Learner(
                    agent, config.dataset.model_copy(update={"frames": "resident"}), config.learner, **how
                )
            learner.load(str(checkpoint.path))
            history = store.history(checkpoint.state.experience)
            learner.mirror(_recent(history, checkpoint.state.lost), gaps=True)
        except (ValueError, OSError, RecoverableError, ExperienceTooLargeError) as error:
            raise UsageError(f"{run.path}: {error}") from error
        if not learner.dataset.num_steps:
            raise UsageError(f"{run.path}: found no stored step, expected some to start from")
        return Trained(config, checkpoint.iteration, learner, game_of(config))
    finally:
        run.close()


@contextmanager
def _global_settings_kept() -> Iterator[None]:
    """A learner takes torch for itself; who looks shares it with others."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    with torch.random.fork_rng():
        yield
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cuda.matmul.allow_tf32 = tf32


def _recent(history: Sequence[Index], lost: Sequence[Receipt]) -> list[list[Receipt]]:
    """Files with the newest steps, of one iteration after another."""
    found: list[list[Receipt]] = []
    steps = 0
    for index in reversed(history):
        found.append([])
        for receipt in reversed(index.receipts):
            if steps < RECENT_STEPS and receipt not in lost:
                found[-1].append(receipt)
                steps += receipt.steps
    return [receipts[::-1] for receipts in reversed(found) if receipts]
