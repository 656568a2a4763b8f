"""What is measured: a preset's networks on a device, as the command line changes them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from learners.dreaming.config import DreamerConfig
from learners.iris.config import IrisConfig
from pipeline.config import RunConfig
from pipeline.presets import PRESETS

PARTS = ("tokenizer", "world_model", "actor_critic")


@dataclass(frozen=True)
class Workload:
    config: RunConfig
    device: torch.device
    as_published: bool

    @staticmethod
    def add_flags(parser: argparse.ArgumentParser, *, preset: str, parts: Sequence[str] = PARTS) -> None:
        """`preset` is the default; `parts` are those whose batch sizes can be chosen, a lone one with --batch."""
        parser.add_argument("--preset", default=preset, choices=sorted(PRESETS))
        parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
        for part in parts:
            flag = "--batch" if len(parts) == 1 else f"--{part.replace('_', '-')}-batch"
            words = f"segments per gradient step of the {part.replace('_', ' ')}; default: the preset's"
            parser.add_argument(flag, type=int, dest=f"{part}_batch", help=words)
        parser.add_argument("--perceptual", choices=("vgg16", "none"), help="default: the preset's; weights are random")
        work = parser.add_mutually_exclusive_group()
        work.add_argument("--precision", choices=("float32", "bfloat16"), help="default: the preset's")
        work.add_argument(
            "--as-published",
            action="store_true",
            help="our code made to repeat the published code's work, which is not the published code: derived columns "
            "computed anew for every batch (in imagination the burn-in frames are even encoded twice, once too often), "
            "contiguous tensors, float32, no CUDA graph",
        )

    @classmethod
    def of(cls, flags: argparse.Namespace) -> Self:
        """Of parsed flags."""
        config = PRESETS[flags.preset][1].model_dump()
        tokenizer = config["algorithm"]["tokenizer"]
        for part in PARTS:
            training = config["algorithm"][part]["training"]
            training["batch_size"] = getattr(flags, f"{part}_batch", None) or training["batch_size"]
        if "perceptual" in tokenizer:
            tokenizer["perceptual"] = flags.perceptual or tokenizer["perceptual"]
        config["learner"]["precision"] = flags.precision or config["learner"]["precision"]
        if flags.as_published:
            config["learner"] = {"precision": "float32", "cuda_graph": False}
        return cls(RunConfig.model_validate(config), torch.device(flags.device), flags.as_published)

    @property
    def has_perceptual_loss(self) -> bool:
        return isinstance(self.config.algorithm, IrisConfig) and self.config.algorithm.tokenizer.perceptual != "none"

    @property
    def dreamer(self) -> DreamerConfig:
        """Settings of the policy, which learns in dreams in every benchmark of networks."""
        settings = getattr(self.config.algorithm, "actor_critic", None)
        assert isinstance(settings, DreamerConfig)
        return settings

    @property
    def precision(self) -> str:
        return self.config.learner.precision

    @property
    def steps_per_call(self) -> int:
        """Gradient steps of a timed call: on a GPU several, since a run waits for it once in `log_every` steps."""
        return 10 if self.device.type == "cuda" else 1

    def without_cuda_graph(self) -> Self:
        learner = self.config.learner.model_copy(update={"cuda_graph": False})
        return replace(self, config=self.config.model_copy(update={"learner": learner}))

    def describe(self) -> dict[str, Any]:
        """For a result."""
        return {
            "preset": self.config.preset,
            "device": str(self.device),
            "precision": self.precision,
            "cuda_graph": self.config.learner.cuda_graph and self.device.type == "cuda",
            "as_published": self.as_published,
            "perceptual": "vgg16" if self.has_perceptual_loss else "none",
        }
