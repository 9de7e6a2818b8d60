"""Strict fairness: each step trains three archs that cover every option once."""

from collections.abc import Mapping, Sequence

from harness.streams import permutation
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS

__all__ = ["Counts", "add_cycle", "fair_cycle", "fairness_gap", "no_counts"]

Counts = tuple[tuple[int, ...], ...]
"""How often each of 3 options of each of 9 blocks was trained."""


def fair_cycle(*, seed: int, epoch: int, step: int) -> list[tuple[int, ...]]:
    """Return the three archs of a step: one permutation of the options per block.

    Strict fairness of FairNAS (Chu et al., ICCV 2021).

    Parameters
    ----------
    seed, epoch, step : int
        Select the draw. Epochs count from 1, steps from 0 within the epoch.
    """
    orders = [
        permutation(seed, f"train/cycle/{block}", epoch, step, n=NUM_OPTIONS)
        for block in range(NUM_BLOCKS)
    ]
    return [tuple(order[i] for order in orders) for i in range(NUM_OPTIONS)]


def no_counts() -> Counts:
    """Return the counts of a run that has not started."""
    return ((0,) * NUM_OPTIONS,) * NUM_BLOCKS


def add_cycle(counts: Counts, archs: Sequence[Sequence[int]]) -> Counts:
    """Return the counts after training `archs`."""
    return tuple(
        tuple(old + sum(arch[block] == option for arch in archs) for option, old in enumerate(row))
        for block, row in enumerate(counts)
    )


def fairness_gap(counts: Counts | Mapping[str, Sequence[int]]) -> int:
    """Return the largest difference between two options of one block."""
    rows = counts.values() if isinstance(counts, Mapping) else counts
    return max(max(row) - min(row) for row in rows)
