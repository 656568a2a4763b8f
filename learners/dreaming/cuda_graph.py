"""A function of tensors, recorded once as a CUDA graph and replayed: the same kernels without their launches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
WARM_UP_CALLS = 2


class CudaGraph(Generic[Result]):
    """`function` must read nothing but its inputs and tensors that keep their addresses (weights do), never wait for
    the device, and take inputs of the same shapes in every call. Its results are overwritten by the next call.

    If it cannot be recorded, a warning names the cause, and from then on it runs as it is.
    """

    def __init__(self, function: Callable[..., Result]) -> None:
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        self._failed = False

    def __call__(self, *inputs: Tensor) -> Result:
        if self._failed:
            return self._function(*inputs)
        if self._graph is None:
            try:
                self._record(inputs)
            except RuntimeError as error:
                self._failed = True
                cause = str(error).strip().partition("\n")[0]
                warnings.warn(f"not recorded as a CUDA graph, slower from here on: {cause}", stacklevel=2)
                return self._function(*inputs)
        assert self._graph is not None
        for static, given in zip(self._inputs, inputs, strict=True):
            static.copy_(given)
        self._graph.replay()
        return self._result

    def _record(self, inputs: Sequence[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries allocate their workspaces in a first call
            for _ in range(WARM_UP_CALLS):
                self._function(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        torch.clear_autocast_cache()  # or the graph would read weights that were converted before it began
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self._function(*self._inputs)
        torch.clear_autocast_cache()  # what was converted inside it belongs to it
        self._graph = graph
