"""Crafter's score: how often the episodes of training reach each of the 22 achievements.

Source: Hafner, "Benchmarking the Spectrum of Agent Capabilities", ICLR 2022.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pipeline.metrics import ACHIEVED

EPISODES = "collection/episodes"


def success_rates(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Achievement -> per cent of all training episodes that ended in which it was reached; empty if none are counted.

    Args:
        records: the lines of metrics.jsonl.
    """
    counts: Counter[str] = Counter()
    for record in records:
        counts.update({name: count for name, count in record.items() if name == EPISODES or name.startswith(ACHIEVED)})
    episodes = counts.pop(EPISODES, 0)
    return {name.removeprefix(ACHIEVED): 100.0 * count / episodes for name, count in counts.items()}


def crafter_score(rates: Mapping[str, float]) -> float:
    """exp(mean over achievements of ln(1 + s)) − 1, in per cent, where s is a success rate in per cent."""
    return float(np.expm1(np.mean(np.log1p(list(rates.values())))))
