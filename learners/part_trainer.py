"""One part with its optimiser: a gradient step, and the file that holds both.

File format (safetensors): `weights.<name>` for every parameter and buffer, `optimizer.<name>.<key>` for the optimiser's
state of every parameter, an empty `unused.<name>` for a parameter that no step had a gradient of and so has no state,
`drawing.<name>` for what its drawing remembers; as metadata the number of gradient steps, `updates`, alone, since the
package writes metadata in any order. A machine without the package can take gradient steps all the same, so it is
imported where a file is made or read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from learners.errors import AlgorithmError
from learners.part import Losses, Mean, Part, Statistic
from learners.ranks import ALONE, Ranks

_NEVER_NEGATIVE = (".exp_avg_sq", ".square_avg", ".step")
"""How the names of averages of squares and of counts end, in torch's optimisers."""


class DivergedError(Exception):
    """A loss or a gradient was not finite; the message names the term, the gradient step and its batch."""


class PartTrainer:
    """Owns the optimiser of a part and counts its gradient steps."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.updates = 0
        self._parameters = {name: each for name, each in part.module.named_parameters() if each.requires_grad}
        self._optimizer = part.optimizer(part.module, part.training)
        self._diverged = next(part.module.parameters()).new_zeros(())

    def step(self, losses: Losses, ranks: Ranks = ALONE) -> dict[str, Tensor]:
        """Minimises the sum of the loss terms; reports them, the gradient's L2 norm before clipping, and the metrics.

        Several ranks take the step on all their batches together: terms and gradients are those of the joint batch,
        metrics the mean of theirs.

        If any of these is not finite, no weight changes, in this step and all that follow: the device knows, and nobody
        has to wait for it after every step.

        Returns: scalars on the device.
        Raises: RankLostError, and no weight has changed.
        """
        kinds = {type(term) for term in losses.terms.values()} if isinstance(losses, Losses) else {type(losses)}
        if not kinds or not kinds <= {Mean, Statistic}:
            found = " and ".join(sorted(kind.__name__ for kind in kinds)) or "no terms"
            raise AlgorithmError(f"part {self.part.name!r}: its loss returned {found}, expected Losses of Mean terms")
        self._optimizer.zero_grad(set_to_none=True)
        values, sums = joint(losses, ranks)
        loss = torch.stack(values).sum()
        loss.backward()
        if ranks.count > 1:
            self._add_up_gradients(ranks)
        norm = nn.utils.clip_grad_norm_(self._parameters.values(), self.part.training.max_gradient_norm)
        terms = {f"loss/{name}": value for name, value in zip(losses.terms, values, strict=True)}
        report = {"loss": loss, **terms, **losses.metrics}
        means = ranks.add_up(torch.stack([*report.values()]).detach() / ranks.count)
        report = dict(zip(report, means, strict=True))
        report["gradient_norm"] = norm
        finite = torch.stack(list(report.values())).isfinite().all()
        self._diverged = torch.where(finite, self._diverged, 1.0)
        is_taken = self._diverged == 0.0
        if self.part.before_step:
            self.part.before_step(is_taken, sums)
        self._optimizer.found_inf = self._diverged  # type: ignore[attr-defined] - what a fused optimiser skips steps by
        self._optimizer.step()
        if self.part.after_step:
            self.part.after_step(is_taken, sums)
        self.updates += 1
        return report

    def _add_up_gradients(self, ranks: Ranks) -> None:
        gradients = [each.grad for each in self._parameters.values() if each.grad is not None]
        total = ranks.add_up(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, summed in zip(gradients, total.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(summed.view(gradient.shape))

    def to_bytes(self) -> bytes:
        from safetensors.torch import save

        tensors = {f"weights.{name}": tensor for name, tensor in self.part.module.state_dict().items()}
        for name, parameter in self._parameters.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value
            if self.updates and parameter not in self._optimizer.state:
                tensors[f"unused.{name}"] = torch.empty(0)
        tensors |= {f"drawing.{name}": tensor for name, tensor in self.part.drawing.state().items()}
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return save(contiguous, metadata={"updates": str(self.updates)})

    @torch.no_grad()
    def from_bytes(self, data: bytes) -> None:
        """Restores weights, optimiser and count; nothing has changed if it raises.

        Raises: ValueError, in one line, if `data` is no file of a part, of another network, or not finite.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors, updates = load(data), int(_metadata(data)["updates"])
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{self.part.name}: no file with weights and their optimiser ({error})") from error
        weights = self.part.module.state_dict()
        expected = {f"weights.{name}": (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
        states = self._optimizer_after_a_step() if updates else {}
        unused = [name for name in states if f"unused.{name}" in tensors]
        expected |= {f"unused.{name}": (torch.Size([0]), torch.float32) for name in unused}
        states = {name: state for name, state in states.items() if name not in unused}
        for name, state in states.items():
            expected |= {f"optimizer.{name}.{key}": (value.shape, value.dtype) for key, value in state.items()}
        of_drawing = [name for name in tensors if name.startswith("drawing.")]
        remembered = {name.removeprefix("drawing."): tensors.pop(name) for name in of_drawing}
        found = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
        if found != expected:
            wrong = sorted(set(found.items()) ^ set(expected.items()), key=str)[0]
            raise ValueError(f"{self.part.name}: weights of another network, first difference at {wrong[0]}")
        if not_finite := next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None):
            raise ValueError(f"{self.part.name}: {not_finite} holds a value that is not finite")
        of_squares = (name for name in tensors if name.startswith("optimizer.") and name.endswith(_NEVER_NEGATIVE))
        if negative := next((name for name in of_squares if (tensors[name] < 0).any()), None):
            raise ValueError(f"{self.part.name}: {negative} holds a negative value")
        if updates < 0:
            raise ValueError(f"{self.part.name}: found {updates} gradient steps, expected at least 0")
        self.part.drawing.restore(remembered)
        for name, tensor in weights.items():
            tensor.copy_(tensors[f"weights.{name}"])
        for name, state in states.items():
            # The fused update walks memory, not indices: its averages keep the strides of their parameter.
            self._optimizer.state[self._parameters[name]] = {
                key: value.copy_(tensors[f"optimizer.{name}.{key}"]) for key, value in state.items()
            }
        self.updates = updates

    @torch.no_grad()
    def _optimizer_after_a_step(self) -> dict[str, dict[str, Tensor]]:
        """What this optimiser holds of every parameter once it has stepped: names, shapes, types, strides, places."""
        copy = deepcopy(self.part.module)
        parameters = dict(copy.named_parameters())
        optimizer = self.part.optimizer(copy, self.part.training)
        for name in self._parameters:
            parameters[name].grad = torch.zeros_like(parameters[name])
        optimizer.step()
        return {name: optimizer.state[parameters[name]] for name in self._parameters}


def joint(losses: Losses, ranks: Ranks) -> tuple[list[Tensor], Mapping[str, Tensor]]:
    """Values of the terms on the batch of all ranks, with the gradient of this rank's share of it, and the sums."""
    terms = losses.terms.values()
    if ranks.count == 1:
        return [term.value for term in terms], losses.sums
    mine = [term.sums for term in terms]
    flat = [each.detach().reshape(-1) for each in (*mine, *losses.sums.values())]
    totals = ranks.add_up(torch.cat(flat)).split([len(each) for each in flat])
    values = [term.of(own + (total - own).detach()) for term, own, total in zip(terms, mine, totals, strict=False)]
    shapes = zip(losses.sums.items(), totals[len(mine) :], strict=True)
    return values, {name: total.view(each.shape) for (name, each), total in shapes}


def _metadata(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]
