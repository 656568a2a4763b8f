"""Data parallelism: processes that take every gradient step together, each on its share of the batch.

Every rank holds the same weights and the same experience and draws the same batch. It computes the gradient on its rows
of it; what is added up over the ranks is the gradient on the whole batch.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Protocol

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroupGloo, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from learners.errors import RecoverableError

INTERFACE = {"gloo": "GLOO_SOCKET_IFNAME", "nccl": "NCCL_SOCKET_IFNAME"}
"""The variable from which a backend takes the network interface that it listens on."""


class RankLostError(RecoverableError):
    """Another rank is gone or silent: none of them can go on before all have joined anew."""


class Ranks(Protocol):
    """All processes that share a batch, seen from one of them."""

    index: int
    count: int

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of every rank's tensor, the same on each of them. Raises: RankLostError."""
        ...


class OneRank:
    """A process on its own."""

    index, count = 0, 1

    def add_up(self, tensor: Tensor) -> Tensor:
        return tensor


ALONE = OneRank()


def share(ranks: Ranks, batch_size: int) -> slice:
    """Which of a batch a rank computes; raises ValueError if not all would get as many."""
    if batch_size % ranks.count:
        raise ValueError(f"a batch of {batch_size} cannot be shared out equally: found {ranks.count} ranks")
    size = batch_size // ranks.count
    return slice(ranks.index * size, (ranks.index + 1) * size)


class ProcessRanks:
    """Processes that talk through torch.distributed: by NCCL between GPUs, by Gloo between CPUs."""

    def __init__(self, address: str, index: int, count: int, device: torch.device, timeout_s: float) -> None:
        """Waits until all have come.

        Args:
            address: host:port of a `meeting_point` where nobody has met before.
            timeout_s: how long they wait for each other, here and in `add_up`.

        Raises: RankLostError if they do not all come in time.
        """
        self.index, self.count = index, count
        host, _, port = address.rpartition(":")
        is_gpu, timeout = device.type == "cuda", timedelta(seconds=timeout_s)
        if ip_address(host).is_loopback and (loopback := _loopback_interface()):
            os.environ.setdefault(INTERFACE["nccl" if is_gpu else "gloo"], loopback)
        group = _group_of_gpus if is_gpu else ProcessGroupGloo
        with _others_may_be_lost():
            store = TCPStore(host, int(port), is_master=False, timeout=timeout)
            # Not the process's default group: that remembers those it failed to join.
            self._group: Any = group(store, index, count, timeout)
        self.add_up(torch.zeros(1, device=device))

    def add_up(self, tensor: Tensor) -> Tensor:
        total = tensor.detach().clone()
        with _others_may_be_lost():
            self._group.allreduce([total]).wait()
        return total


def _group_of_gpus(store: TCPStore, index: int, count: int, timeout: timedelta) -> Any:
    nccl: Any = distributed.ProcessGroupNCCL  # type: ignore[attr-defined] - only in torch's builds for GPUs
    options = nccl.Options()
    options._timeout = timeout
    return nccl(store, index, count, options)


@contextmanager
def _others_may_be_lost() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        first_line = str(error).strip().partition("\n")[0]
        reason = re.sub(r"^\[[^]]*\] ", "", first_line).partition(". ")[0]  # without torch's line number and advice
        raise RankLostError(f"another process of the learner is lost: {reason}") from error


def meeting_point(host: str) -> tuple[str, TCPStore]:
    """Where ranks find each other: its address, listening on `host` alone, and what must live as long as they do."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.bind((host, 0))
    listening.listen()
    port = listening.getsockname()[1]
    # Without the socket it would listen on every interface.
    store = TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())
    return f"{host}:{port}", store


def _loopback_interface() -> str | None:
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
