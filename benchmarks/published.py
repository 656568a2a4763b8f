"""How long the papers' own code takes, to compare with: https://github.com/eloialonso/iris
and https://github.com/vmicheli/delta-iris at their published settings.

Measured by us once, on two CPU cores of another machine than the results in this repository come from, in float32. That
machine's own ceiling in channels-last 3×3 convolutions was about 550 GFLOP/s in float32 (1050 in bfloat16).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.ceiling import Ceilings
from benchmarks.workload import Workload

CONVOLUTION_FLOPS = 550e9
"""Of that machine, in float32."""


class Published(NamedTuple):
    batch_size: int
    seconds: float


MEASURED = {
    "iris-atari100k": {
        "tokenizer": Published(32, 2.22),
        "tokenizer without perceptual loss": Published(32, 1.34),
        "world_model": Published(4, 0.98),  # 20 frames each
        "imagination": Published(8, 5.6),  # 20 steps after a burn-in of 20: 28 imagined steps per second
        "actor_critic": Published(8, 5.9),
    },
    "delta-iris-atari100k": {
        "tokenizer": Published(4, 1.50),  # 21 frames each, in bfloat16
        "world_model": Published(8, 1.05),  # 26 frames each, in bfloat16
        "imagination": Published(8, 8 * 20 / 67),  # 67 imagined steps per second
    },
}
"""By preset."""


def compare(name: str, seconds: float, batch_size: int, workload: Workload, ceilings: Ceilings) -> dict[str, Any]:
    """`published` and `speedup` of a measurement; nothing unless the networks and the batch size were the same.

    The speedup is given raw, seconds against seconds on two machines, and as if both had the same ceiling in float32
    convolutions. Where this machine is the faster one, the second is the smaller and the fairer number.
    """
    if name == "tokenizer" and workload.config.algorithm.kind == "iris" and not workload.has_perceptual_loss:
        name = "tokenizer without perceptual loss"
    published = MEASURED.get(workload.config.preset, {}).get(name)
    if published is None or batch_size != published.batch_size:
        return {}
    raw = published.seconds / seconds
    return {
        "published": {"seconds": published.seconds, "convolution_gflops": CONVOLUTION_FLOPS / 1e9},
        "speedup": {
            "raw": raw,
            "at_equal_float32_ceilings": raw * CONVOLUTION_FLOPS / ceilings["float32"].convolution,
        },
    }
