"""Several environments, stepped together: in this process, or in processes of their own. That changes no result.

An environment is Python that holds the interpreter's lock, so threads would not step two at once.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import traceback
import weakref
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

from actors.config import EnvironmentConfig
from actors.envs.environment import Environment
from learners.errors import RecoverableError


class EnvironmentsLostError(RecoverableError):
    """A process that stepped environments is gone. The next call starts others, whose environments are new."""


class Environments(Protocol):
    """They are numbered from 0."""

    def __len__(self) -> int: ...

    def call(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        """Calls a method of some of them: its values, in the order of `arguments`.

        Raises what the method raises; EnvironmentsLostError.
        """
        ...


class InThisProcess:
    """One after another."""

    def __init__(self, environments: Iterable[Environment]) -> None:
        self._environments = list(environments)

    def __len__(self) -> int:
        return len(self._environments)

    def call(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        return {index: getattr(self._environments[index], method)(*args) for index, args in arguments.items()}


class InProcesses:
    """Shared out over processes, which end when this one does, however it ends."""

    def __init__(self, env: EnvironmentConfig, keys: Sequence[int], num_processes: int) -> None:
        """Environments of the seeds `keys`, the i-th in process i mod `num_processes`."""
        self._env = env
        self._keys = list(keys)
        self._num_processes = min(num_processes, len(self._keys))
        self._processes: list[_Process] = []  # none yet, or all of them
        weakref.finalize(self, _end, self._processes)

    def __len__(self) -> int:
        return len(self._keys)

    def call(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        shares: dict[int, dict[int, Sequence[Any]]] = {}
        for index, args in arguments.items():
            shares.setdefault(index % self._num_processes, {})[index // self._num_processes] = args
        try:
            for first in range(len(self._processes), self._num_processes):
                self._processes.append(_Process(self._env, self._keys[first :: self._num_processes]))
            for process, share in shares.items():
                self._processes[process].connection.send((method, share))
            answers = {process: self._processes[process].connection.recv() for process in shares}
        except (EOFError, OSError) as error:
            _end(self._processes)
            raise EnvironmentsLostError("a process that steps environments is lost") from error
        for answer in answers.values():  # once all are there: the next call meets none of this one
            if isinstance(answer, Exception):
                raise answer
        return {index: answers[index % self._num_processes][index // self._num_processes] for index in arguments}


class _Process:
    """This module as a program, at the other end of a socket."""

    def __init__(self, env: EnvironmentConfig, keys: Sequence[int]) -> None:
        here, there = socket.socketpair()
        self.connection = Connection(here.detach())
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(there.fileno())],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
            )
        self.connection.send((env, keys))

    def end(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.wait()


def _end(processes: list[_Process]) -> None:
    """All of them; none is left in the list."""
    while processes:
        processes.pop().end()


def main(descriptor: int) -> None:
    """Builds environments and does what is asked of them, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process at the other end
    connection = Connection(descriptor)
    try:
        env, keys = connection.recv()
        environments: InThisProcess | None = None
        while True:
            method, arguments = connection.recv()
            try:
                environments = environments or InThisProcess([env.build(key) for key in keys])
                answer: Any = environments.call(method, arguments)
            except Exception as error:  # whatever an environment raises
                answer = _told(error)
            connection.send(answer)
    except (EOFError, ConnectionError):
        pass


def _told(error: Exception) -> Exception:
    """An error that can be sent, whatever class the environment's is of: a ValueError is one, others are named."""
    is_value = isinstance(error, ValueError)
    told = ValueError(str(error)) if is_value else RuntimeError(f"{type(error).__name__}: {error}")
    told.add_note("".join(traceback.format_exception(error)))
    return told


if __name__ == "__main__":
    main(int(sys.argv[1]))
