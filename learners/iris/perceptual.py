"""LPIPS, the perceptual distance in IRIS's tokenizer loss: a VGG16 trunk with linear heads, in plain torch.

    d(x, y) = Σ_taps mean_hw Σ_c w_c (x̂_c − ŷ_c)²,   x̂ = features / (‖features‖₂ over channels + 1e-10),  w ≥ 0

The published weights come as one safetensors file that `python -m learners.iris.convert_perceptual` makes
(docs/perceptual.md): `trunk.conv1_1.weight` … `trunk.conv5_3.bias` and `heads.relu1_2.weight` … `heads.relu5_3.weight`.

Shapes: N images, C channels of a tap, H × W its height and width.
Source: Zhang et al. (2018), "The unreasonable effectiveness of deep features as a perceptual metric", lpips 0.1.4 with
`net="vgg"`, version 0.1; Simonyan and Zisserman (2015) for VGG16.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.iris.config import missing_weights_message

VGG16 = (
    (("conv1_1", 3, 64), ("conv1_2", 64, 64)),
    (("conv2_1", 64, 128), ("conv2_2", 128, 128)),
    (("conv3_1", 128, 256), ("conv3_2", 256, 256), ("conv3_3", 256, 256)),
    (("conv4_1", 256, 512), ("conv4_2", 512, 512), ("conv4_3", 512, 512)),
    (("conv5_1", 512, 512), ("conv5_2", 512, 512), ("conv5_3", 512, 512)),
)
"""Name, input and output channels of the 3×3 convolutions. A ReLU follows each, a 2×2 max-pool separates two stages; a
stage's last activation is a tap, so that conv1_2 is read by the head relu1_2."""

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Per colour: takes images in [−1, 1] to what VGG16 was trained on."""


class Perceptual(nn.Module):
    """LPIPS distance of image pairs. Fixed: always in evaluation mode, its weights take no gradient, its inputs do."""

    shift: Tensor  # (1, 3, 1, 1)
    scale: Tensor  # (1, 3, 1, 1)

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Raises: ValueError unless `weights` has exactly the names and shapes of `weight_shapes()`, heads ≥ 0."""
        super().__init__()
        check_weights(weights)
        with torch.device("meta"):  # neither memory nor a draw from torch's generator for weights that are replaced
            self.trunk = nn.ModuleDict(
                {name: nn.Conv2d(inputs, outputs, 3, padding=1) for stage in VGG16 for name, inputs, outputs in stage}
            )
            self.heads = nn.ModuleDict({_tap(stage): nn.Conv2d(stage[-1][2], 1, 1, bias=False) for stage in VGG16})
        self.load_state_dict(weights, assign=True)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.train(False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The network in a safetensors file, on the CPU.

        Raises: FileNotFoundError and ValueError, each with one line: what is missing, or what was found and expected.
        """
        from safetensors import SafetensorError  # here, so that a random network needs no such package
        from safetensors.torch import load_file

        if not Path(path).is_file():
            raise FileNotFoundError(missing_weights_message(path))
        try:
            return cls(load_file(path))
        except SafetensorError as error:
            raise ValueError(f"{path}: not a safetensors file, or a damaged one ({error})") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def random(cls, generator_seed: int) -> Self:
        """A network of the same cost with random weights, for benchmarks and tests: its distances mean nothing."""
        generator = torch.Generator().manual_seed(generator_seed)
        weights = {}
        for name, shape in weight_shapes().items():
            if name.endswith(".bias"):
                weights[name] = torch.zeros(shape)
            elif name.startswith("heads."):
                weights[name] = torch.rand(shape, generator=generator)
            else:  # He et al. (2015): the activations of every tap keep their scale
                weights[name] = torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
        return cls(weights)

    def forward(self, x: Tensor, y: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Distances of the pairs (x, y).

        Args:
            x: (N, 3, 64, 64) in [−1, 1]; any size from 16 on works.
            y: like x. A gradient reaches whichever of the two requires one, and only that one's activations are kept.
            dropout: share of the squared differences of features that is left out, drawn from torch's global generator;
                the others are scaled up. 0 is the distance itself.

        Returns: (N,), at least 0.
        Raises: ValueError if the shapes differ or are not (N, 3, H, W).
        """
        if x.shape != y.shape or x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"found images {tuple(x.shape)} and {tuple(y.shape)}, expected twice (N, 3, H, W)")
        total = x.new_zeros(len(x))
        # One pass for each image: the frames need no gradient, and a joint batch would store and walk back theirs too.
        for head, of_x, of_y in zip(self.heads.values(), self._taps(x), self._taps(y), strict=True):
            difference = (_unit(of_x) - _unit(of_y)).square()  # (N, C, H, W)
            kept = F.dropout(difference, dropout) if dropout else difference
            total = total + head(kept).mean(dim=(1, 2, 3))  # (N, 1, H, W) -> (N,)
        return total

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whatever the mode of the module around it."""
        return super().train(False)

    def _taps(self, images: Tensor) -> Iterator[Tensor]:
        features = (images - self.shift) / self.scale
        for depth, stage in enumerate(VGG16):
            if depth:
                features = F.max_pool2d(features, 2)
            for name, _, _ in stage:
                features = F.relu(self.trunk[name](features))
            yield features


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """The names and shapes in a weights file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for stage in VGG16:
        for name, inputs, outputs in stage:
            shapes[f"trunk.{name}.weight"] = (outputs, inputs, 3, 3)
            shapes[f"trunk.{name}.bias"] = (outputs,)
        shapes[f"heads.{_tap(stage)}.weight"] = (1, stage[-1][2], 1, 1)
    return shapes


def check_weights(weights: Mapping[str, Tensor]) -> None:
    """Raises: ValueError, one line, unless `weights` are finite float32 tensors as in `weight_shapes()`, heads ≥ 0."""
    expected = weight_shapes()
    if missing := sorted(expected.keys() - weights.keys()):
        raise ValueError(f"{len(missing)} of {len(expected)} tensors are missing, the first is {missing[0]}")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise ValueError(f"found the unknown tensor {unknown[0]}, expected {len(expected)} tensors trunk.* and heads.*")
    for name, shape in expected.items():
        tensor = weights[name]
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{name}: found {kind} {tuple(tensor.shape)}, expected float32 {shape}")
        if not tensor.isfinite().all():
            raise ValueError(f"{name}: found a value that is not finite")
        if name.startswith("heads.") and (lowest := tensor.min().item()) < 0:
            raise ValueError(f"{name}: found {lowest:.3g}, expected no weight below 0 (a distance would be negative)")


def _tap(stage: tuple[tuple[str, int, int], ...]) -> str:
    return stage[-1][0].replace("conv", "relu")


def _unit(features: Tensor) -> Tensor:
    """(N, C, H, W) with unit length over C; 0, as is its gradient, where every channel is 0."""
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)
