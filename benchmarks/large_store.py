"""Can a machine hold ten million steps? Memory and time of a learner whose frames stay in the run's files.

A store as a run leaves it is written first: Crafter played at random, whose groups of frames repeat, in as many
iterations, environments and files as the preset would. Then a process of its own, a learner of the preset's networks,
takes it up and draws batches; measured is its anonymous memory (RssAnon and RssShmem), that of taking up (a resume),
of reading the frames of a batch from the page cache and from the disk, and the time of verifying everything. A store
that is there already is used again.

    python -m benchmarks.large_store --steps 10000000 --store runs/large_store --out benchmarks/results/large_store.json
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actors.audit import audit
from actors.collector import PIECE_STEPS
from actors.experience_reader import ExperienceReader
from actors.store import ReplayStore
from actors.store_index import Link, Receipt
from benchmarks.question import Question
from learners.algorithm import AgentConfig
from learners.drawing import UniformDrawing
from learners.experience import Chunk
from learners.learner import Learner
from pipeline.config import RunConfig
from pipeline.presets import preset
from pipeline.transaction import MIRROR_ITERATIONS

BATCH, LENGTH = 64, 21
EPISODE_STEPS = 180
"""About as long as Crafter lasts under random play."""
NEWEST = "newest.json"


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("large_store", "memory and time of experience that stays in its files", __doc__)
    question.flags.add_argument("--preset", default="delta-iris-crafter")
    question.flags.add_argument("--steps", type=int, default=10_000_000)
    question.flags.add_argument("--store", type=Path, default=Path("runs/large_store"), help="directory; it is kept")
    question.flags.add_argument("--batches", type=int, default=40, help="of which the median counts")
    flags = question.ask(argv)
    config = preset(flags.preset)
    store = ReplayStore(flags.store.absolute(), "large")
    known = flags.store / NEWEST
    if not known.exists():
        link = write(store, config, flags.steps)
        known.write_text(link.model_dump_json())
    link = Link.model_validate_json(known.read_text())
    history = store.history(link)
    receipts = [index.receipts for index in history]
    found = {
        "preset": flags.preset,
        "steps": sum(index.steps for index in history),
        "iterations": len(history),
        "files": sum(map(len, receipts)),
        "bytes_of_a_step": sum(each.size for some in receipts for each in some) / sum(index.steps for index in history),
        "groups_of_frames_repeat": True,
    }
    question.note("store", found)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:  # a process of its own, so that its memory is a learner's
        learner = pool.apply(read, (store, config, receipts, flags.batches))
    question.note("learner", learner)
    start = time.perf_counter()
    faults = audit(store, history)
    question.answer({**found, "learner": learner, "verify_s": time.perf_counter() - start, "faults": len(faults)})


def write(store: ReplayStore, config: RunConfig, num_steps: int) -> Link:
    """Iterations as the preset plans them, until there are so many steps."""
    frames, size = played(config), config.collection.envs_per_collector
    link: Link | None = None
    lived, written, iteration = 0, 0, 0  # `lived`: steps of each environment
    while written < num_steps:
        iteration += 1
        store.make_directory(iteration)
        receipts: list[Receipt] = []
        start, left = 0, min(config.collection.steps_in(iteration), num_steps - written)
        while left > 0:
            length = max(1, min(PIECE_STEPS, left) // size)
            chunks = [chunk(frames, iteration, env, start, lived, length) for env in range(size)]
            receipts.append(store.write(0, len(receipts), chunks))
            start, lived, left, written = start + length, lived + length, left - length * size, written + length * size
        link = store.write_index(iteration, link, receipts)
    assert link
    return link


def played(config: RunConfig) -> NDArray[np.uint8]:
    """(N, 3, 64, 64): frames of some episodes under random play."""
    env, rng = config.env.build(seed=0), np.random.default_rng(0)
    frames = [env.reset()]
    while len(frames) < 4 * PIECE_STEPS:
        step = env.step(int(env.action_space.sample(rng, 1)[0]))
        frames.append(env.reset() if step.ended else step.frame)
    return np.stack(frames)


def chunk(frames: NDArray[np.uint8], iteration: int, env: int, start: int, lived: int, length: int) -> Chunk:
    """`length` steps of an environment that has taken `lived` before, its frames from somewhere in `frames`."""
    steps = lived + np.arange(length)
    place = (steps + 977 * env) % len(frames)
    rng = np.random.default_rng((iteration, env, start))
    return Chunk(
        iteration=iteration,
        environment=env,
        start=start,
        policy_version=iteration - 1,
        frames=frames[place],
        actions=rng.integers(17, size=length).astype(np.int32),
        rewards=(rng.random(length) < 0.02).astype(np.float32),
        terminated=steps % EPISODE_STEPS == EPISODE_STEPS - 1,
        truncated=np.zeros(length, dtype=np.bool_),
        episodes=(env << 32) + steps // EPISODE_STEPS,
        episode_steps=(steps % EPISODE_STEPS).astype(np.int32),
    )


def read(store: ReplayStore, config: RunConfig, receipts: Sequence[Sequence[Receipt]], batches: int) -> dict[str, Any]:
    """What a learner comes to that takes all of it up."""
    agent = AgentConfig(config.algorithm, config.env.build(seed=0).action_space)
    dataset = config.dataset.model_copy(update={"frames": "read"})
    learner = Learner(agent, dataset, config.learner, seed=0, device="cpu", experience=ExperienceReader(store))
    before, start = anonymous_bytes(), time.perf_counter()
    for first in range(0, len(receipts), MIRROR_ITERATIONS):
        learner.mirror(receipts[first : first + MIRROR_ITERATIONS])
    taken_up = time.perf_counter() - start
    after, rng, drawing = anonymous_bytes(), np.random.default_rng(0), UniformDrawing(LENGTH, "start")
    drawn = [learner.dataset.draw(drawing, BATCH, rng, iteration=2) for _ in range(batches)]
    for path in store.directory.glob("*/*.safetensors"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    cold, warm = (statistics.median(each) for each in (list(timed(learner, drawn)), list(timed(learner, drawn))))
    return {
        "take_up_s": taken_up,
        "gb_before": before / 1e9,
        "gb_with_all_steps": after / 1e9,
        "gb_after_drawing": anonymous_bytes() / 1e9,
        "batch": [BATCH, LENGTH],
        "batch_from_page_cache_ms": 1e3 * warm,
        "batch_from_disk_ms": 1e3 * cold,
        "threads": torch.get_num_threads(),
    }


def timed(learner: Learner, drawn: Sequence[NDArray[np.int64]]) -> Iterator[float]:
    """Seconds to gather the frames of each batch."""
    for rows in drawn:
        start = time.perf_counter()
        learner.dataset.gather(rows, ("frames",))
        yield time.perf_counter() - start


def anonymous_bytes() -> int:
    """That this process holds and no file does: RssAnon and RssShmem."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(1024 * int(status[name].split()[0]) for name in ("RssAnon", "RssShmem"))


if __name__ == "__main__":
    main()
