"""`python -m pipeline.toy`: the smallest task that a network without attention cannot do.

A line has two triangles and two rectangles; both of a pair are to become as high as their mean. A convolution sees ten
samples to either side and never the other shape; one layer of attention reads it from wherever it is. Trains both,
prints how far off they are, and draws what they make of it and what attention looks at. Works without Ray.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt

from cluster.this_process import prepare
from learners.toy.config import PUBLISHED_TRAINING, SequencesConfig, ToyNetworkConfig, ToyTrainingConfig
from pipeline.cli import Tool, command, parse_arguments
from pipeline.errors import RunFailedError
from pipeline.out_directory import TABLE_FILE, check_out_directory

PROGRAM = "python -m pipeline.toy"


class Arguments(Tool):
    """Trains small networks to level the heights of shapes that are far apart, with and without attention."""

    networks: Annotated[tuple[Literal["conv", "attention"], ...], Field(min_length=1)] = ("conv", "attention")
    """Convolutions alone, and fewer of them with one layer of attention."""
    group: Literal["shape", "place"] = "shape"
    """What makes a pair: the same shape; or the two on the left and the two on the right, for which attention needs
    positions."""
    positions: Literal["none", "binary"] = "none"
    """Whether networks are told the bits of each place's number."""
    scale: bool = False
    """Whether attention divides by the root of its size."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0, 1)
    """Of sequences and networks, one after another."""
    sequences: Annotated[int, Field(ge=1, le=1_000_000)] = ToyTrainingConfig().sequences
    """That are trained on."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = ToyTrainingConfig().epochs
    """Over all of them."""
    published: bool = False
    """As published: 25 000 sequences in 250 epochs, never shuffled, and rectangles may be alike: hours on a CPU."""
    out: Path = Path("runs/toy")
    """Directory to write: a table and a picture."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(Arguments, sys.argv[1:] if argv is None else argv, PROGRAM)
    sequences = SequencesConfig(group=arguments.group, rectangles_differ=not arguments.published)
    small = ToyTrainingConfig(sequences=arguments.sequences, epochs=arguments.epochs)
    training = PUBLISHED_TRAINING if arguments.published else small
    check_out_directory(arguments.out)
    prepare(threads=1)  # small networks gain nothing from more
    # What follows loads torch, which a mistyped flag and --help should not wait for.
    from learners.durable import write_durably
    from learners.toy.training import DivergedError, Trained, train
    from pipeline.toy_picture import draw

    who = f"{' and '.join(arguments.networks)}, on {training.sequences:,} sequences in {training.epochs} epochs"
    print(f"learning to level pairs of one {arguments.group}: {who}", flush=True)
    rows: list[dict[str, Any]] = []
    first: dict[str, Trained] = {}
    for seed, kind in product(arguments.seeds, arguments.networks):
        network = ToyNetworkConfig(kind=kind, scale=arguments.scale, positions=arguments.positions)
        say = partial(_say, f"{kind}, seed {seed}", training.epochs)
        try:
            found = train(sequences, network, training, seed, say)
        except DivergedError as error:
            raise RunFailedError(f"{kind}, seed {seed}: {error}") from error
        rows.append({"network": kind, "seed": seed, **found.measured()})
        first.setdefault(kind, found)
    print(f"{'network':<12}{'seed':>5}{'parameters':>12}{'test error':>12}{'without noise':>15}{'same-pair mass':>16}")
    for row in rows:
        mass = "" if (known := row["same_pair_mass"]) is None else f"{known:.3f}"
        size, errors = f"{row['parameters']:,}", (row["test_error"], row["clean_error"])
        print(f"{row['network']:<12}{row['seed']:>5}{size:>12}{errors[0]:>12.4f}{errors[1]:>15.4f}{mass:>16}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = {"sequences": sequences.model_dump(), "training": training.model_dump()}
    settings |= arguments.model_dump(include={"positions", "scale"})
    table = {"settings": settings, "rows": rows}
    write_durably(arguments.out / TABLE_FILE, (json.dumps(table, indent=1) + "\n").encode())
    draw(arguments.out / "toy.png", first)
    print(f"the same as numbers, and a picture of the first seed: {arguments.out}")
    return 0


def _say(name: str, epochs: int, epoch: int, error: float) -> None:
    print(f"{name}: epoch {epoch}/{epochs} | test error {error:.4f}", flush=True)


if __name__ == "__main__":
    command(main)
