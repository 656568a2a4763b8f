"""What a call computes: floating-point operations, and how many operators one after another.

Counted while it runs, without CUDA graphs, whose replay shows nothing of what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks.synthetic import EPISODE_STEPS, settle, synthetic_learner
from benchmarks.workload import Workload

KERNEL_SECONDS = 2e-6
"""The least that a GPU needs to begin a kernel that waits for the one before it."""


class Operations(NamedTuple):
    flops: int
    kernels: int
    """Operators of aten that compute, each at least one kernel; views and allocations are none."""


def count(call: Callable[[], object]) -> Operations:
    with _Kernels() as kernels, FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as flops:
        call()
    return Operations(flops.get_total_flops(), kernels.count)


def step_operations(workload: Workload, parts: Sequence[str]) -> dict[str, Operations]:
    """Of one gradient step of each part, such as all but the first of an iteration are."""
    learner = synthetic_learner(workload.without_cuda_graph(), num_steps=EPISODE_STEPS)
    counted = {}
    for part in parts:
        settle(workload, learner, part)
        counted[part] = count(lambda part=part: learner.train(part, 1, range(1)))
    return counted


class _Kernels(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or func.overloadpacket in _NO_KERNEL)
        return func(*args, **(kwargs or {}))


_aten = torch.ops.aten
_NO_KERNEL = {
    _aten.empty,
    _aten.empty_like,
    _aten.empty_strided,
    _aten.new_empty,
    _aten.new_empty_strided,
    _aten._unsafe_view,
    _aten._local_scalar_dense,
    _aten.is_pinned,
}


def _cpu_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _cpu_attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


_CPU_ATTENTION: Any = {  # which torch does not count of itself
    _aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
}
