"""What a GPU would run never waits for it, checked without one: fake CUDA tensors hold no values to wait for."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from learners.algorithm import AgentConfig
from learners.config import DatasetConfig, LearnerConfig
from learners.dreaming.actor_critic import ActorCritic, pooling_actor_critic
from learners.dreaming.imagination import imagine
from learners.iris.iris import Iris
from learners.learner import Learner
from learners.part import Segments
from tests.learners.fakes import NUM_ACTIONS, PARTS_OF_ALL, TINY_ACTOR_CRITIC, TINY_IRIS, make_chunk

B, K = 4, TINY_IRIS.tokenizer.tokens_per_frame
CUDA = torch.device("cuda", 0)
READ_BACK = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten._unique2.default,
)


class NoTransfers(TorchDispatchMode):
    """Raises where an operation has tensors of two devices: a copy between them waits for both."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor) and leaf.ndim]
        if len({tensor.device for tensor in tensors}) > 1:
            raise AssertionError(f"{function} moves data between devices")
        return result


class NoReadBack(TorchDispatchMode):
    """Raises where the host would read a value of a tensor, or learn a shape from one."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masks = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor) and leaf.dtype == torch.bool]
        indexed = function in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default) and masks
        if indexed or function in READ_BACK:
            raise AssertionError(f"{function} reads a value back")
        return function(*args, **(kwargs or {}))


class Indexing(TorchFunctionMode):
    """Integers, slices and None in brackets as operators: torch without CUDA cannot index fake CUDA tensors."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is Tensor.__getitem__:
            return self._view(*args)
        if function is Tensor.__setitem__:
            target, value = self._view(args[0], args[1]), args[2]
            assert target.device == value.device
            assert torch.broadcast_shapes(target.shape, value.shape) == target.shape
            return target
        return function(*args, **(kwargs or {}))

    @staticmethod
    def _view(tensor: Tensor, index: Any) -> Tensor:
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index:
            place = index.index(Ellipsis)
            missing = tensor.ndim - sum(each is not None for each in index) + 1
            index = index[:place] + (slice(None),) * missing + index[place + 1 :]
        dim = 0
        for each in index:
            if isinstance(each, slice):
                tensor = torch.ops.aten.slice(tensor, dim, each.start, each.stop, each.step or 1)
            elif each is None:
                tensor = tensor.unsqueeze(dim)
            elif isinstance(each, int):
                tensor = tensor.select(dim, each)
                continue
            else:
                raise AssertionError(f"indexed by {type(each).__name__}")
            dim += 1
        return tensor


@pytest.fixture
def networks() -> Iterator[tuple[Iris, ActorCritic]]:
    world_model = Iris(TINY_IRIS, NUM_ACTIONS)
    actor_critic = pooling_actor_critic(TINY_ACTOR_CRITIC, world_model.feature_shape, NUM_ACTIONS)
    with FakeTensorMode(), CUDA, Indexing():
        for module in (*world_model.tokenizer.modules(), *world_model.gpt.modules(), *actor_critic.modules()):
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(torch.empty(parameter.shape), requires_grad=False))
        yield world_model, actor_critic


def context(length: int) -> Segments:
    """A batch as the dataset mirrored on the device would give it."""
    columns = {
        "tokens": torch.zeros(B, length, K, dtype=torch.int64),
        "reconstructions": torch.zeros(B, length, 3, 64, 64),
    }
    zeros = torch.zeros(B, length)
    return Segments(zeros.long(), zeros, zeros.bool(), zeros.bool(), columns)


def test_a_rollout_never_waits_for_the_device(networks: tuple[Iris, ActorCritic]):
    world_model, actor_critic = networks
    noise = torch.rand(7, B, 1 + world_model.noise_per_step)  # longer than the context: it restarts, too
    with NoTransfers():
        imagined = imagine(world_model, actor_critic, context(3), noise)
    assert imagined.features.shape == (B, 8, 3, 64, 64)
    assert all(tensor.device == CUDA for tensor in (*imagined[:4], *imagined.state))


@pytest.mark.parametrize(("agent", "part"), PARTS_OF_ALL, indirect=["agent"])
def test_no_gradient_step_reads_a_value_back(agent: AgentConfig, part: str):
    """On a CPU, where nothing waits: the operators that would are the same."""
    learner = Learner(agent, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    learner.extend([make_chunk([5, 9, 4])])
    rows = learner._draw(learner.parts[part], 1, 0)
    with NoReadBack():
        learner._gradient_step(learner._trainers[part], 1, 0, rows)


@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: bool(x.any()), lambda x: x.tolist()])
def test_the_check_sees_a_value_that_is_waited_for(networks: tuple[Iris, ActorCritic], wait: Callable[[Tensor], Any]):
    with pytest.raises(DataDependentOutputException):
        wait(torch.zeros(3))


def test_the_check_sees_a_boolean_mask(networks: tuple[Iris, ActorCritic]):
    x = torch.zeros(3)
    with pytest.raises(AssertionError, match="indexed by FakeTensor"):
        x[x > 0]


def test_the_check_sees_a_copy_between_devices(networks: tuple[Iris, ActorCritic]):
    with pytest.raises(AssertionError, match="moves data between devices"), NoTransfers():
        torch.zeros(3).to("cpu")


@pytest.mark.parametrize("wait", [lambda x: x.item(), lambda x: bool(x > 0), lambda x: x.view(1)[x.view(1) > 0]])
def test_the_check_on_a_cpu_sees_a_value_read_back(wait: Callable[[Tensor], Any]):
    with pytest.raises(AssertionError, match="reads a value back"), NoReadBack():
        wait(torch.tensor(1.0))
