"""What lies where in the directory of a society, and what its commits say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, PositiveInt

from learners.reading import read_file
from pipeline.checkpoint import Commit, Commits
from pipeline.quizzes.config import QuizzesConfig
from pipeline.run_dir import CHECKPOINTS, MEDIA, Directory

if TYPE_CHECKING:
    from learners.quizzes.culture import Culture

CULTURE, PAGE = "culture", "quizzes.html"
README = """\
Models of iris-ray that make up quizzes for each other. Running the same command again resumes it;
`python -m pipeline.quizzes verify <this directory>` checks it.

society.json      the whole configuration
metrics.jsonl     one line per round: losses, accuracies, what became of the quizzes that were made up
                  (TensorBoard reads the same from tensorboard/)
timings.jsonl     where the time of each round went, in seconds
culture/          the quizzes that were kept, a file for each round that made some up
media/            pictures of them, and quizzes.html, a page with all of it
checkpoints/      the newest commits: the weights of all models, and which files of culture/ count
committed.txt     says that there are commits: without one of them in checkpoints/, no command goes on
"""


class Link(BaseModel):
    """A file of culture."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    round: PositiveInt
    count: NonNegativeInt
    sha256: str

    @property
    def name(self) -> str:
        return name_of(self.round)


class SocietyState(Commit):
    """What a commit says of itself, beside the weights; an iteration is a round."""

    accuracies: list[FiniteFloat]
    """Of each model, since it was last asked to train; 0 before."""
    culture: list[Link]
    """In the order of rounds."""


class SocietyDirectory(Directory[QuizzesConfig]):
    form = QuizzesConfig
    config_name = "society.json"
    readme = README
    folders = (MEDIA, CHECKPOINTS, CULTURE)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.culture = path / CULTURE

    def commits(self, config: QuizzesConfig) -> Commits[SocietyState]:
        return Commits(self.checkpoints, config.keep, SocietyState)

    def strays(self, links: Sequence[Link]) -> list[Path]:
        """Files of culture that no commit names."""
        named = {link.name for link in links}
        found = (path for path in self.culture.iterdir() if path.name not in named)
        return sorted(path for path in found if path.is_symlink() or path.is_file())

    def check(self, config: QuizzesConfig, state: SocietyState) -> list[Culture]:
        """The quizzes that a commit counts on, by round. Raises ValueError, in one line, if it is not of these settings
        or a file is not there as it was written."""
        if state.identity != config.identity_hash():
            raise ValueError(f"{self.config_name} is another configuration than it was made with")
        if (found := len(state.accuracies)) != config.society.models:
            raise ValueError(f"found accuracies of {found} models, expected {config.society.models}")
        return [self.read(config, link) for link in state.culture]

    def read(self, config: QuizzesConfig, link: Link) -> Culture:
        """The quizzes of a file. Raises ValueError, in one line, if it is not there as it was written."""
        from hashlib import sha256

        from learners.quizzes.culture import Culture

        path = self.culture / link.name
        try:
            data = read_file(path)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
        if (found := sha256(data).hexdigest()) != link.sha256:
            raise ValueError(f"{path} is damaged: found sha256 {found[:12]}…, expected {link.sha256[:12]}…")
        society = config.society
        try:
            culture = Culture.from_bytes(data, society.world.grid, society.models)
            if len(culture) != link.count:
                raise ValueError(f"found {len(culture)} quizzes, expected {link.count}")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return culture


def name_of(round_number: int) -> str:
    return f"{round_number:06d}.safetensors"
