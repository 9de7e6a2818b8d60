"""Figures of several draws beside one another: tables of two, repeats, orders that agree."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from harness.promises.chance import Finding, agreement, repeats, spread
from harness.wording import counted

__all__ = [
    "next_epochs", "next_in_epoch", "next_seeds", "of_repeats", "of_spread", "of_table",
    "order_agreements", "row_spreads",
]  # fmt: skip

Labels = NDArray[np.int64]
"""What was drawn, by number of its cell, shape (draws, quantities)."""

ByKey = Mapping[tuple[int, int], Labels]
"""By seed and epoch."""

Beside = Iterator[tuple[str, Labels, Labels]]
"""In words, and two arrays (pairs, quantities) that stand beside one another; no draw is in two
pairs."""


def next_in_epoch(found: ByKey, lag: int) -> Beside:
    """Yield draws and those `lag` later in the same epoch."""
    first, second = [], []
    for labels in found.values():
        # Disjoint: pairs that share a draw are not independent of one another.
        whole = len(labels) // (2 * lag) * 2 * lag
        blocks = labels[:whole].reshape(-1, 2, lag, labels.shape[1])
        first.append(blocks[:, 0].reshape(-1, labels.shape[1]))
        second.append(blocks[:, 1].reshape(-1, labels.shape[1]))
    yield f"{counted(lag, 'draw')} later", np.concatenate(first), np.concatenate(second)


def next_epochs(found: ByKey) -> Beside:
    """Yield the draws of every seed's first epoch beside those of its second one."""
    seeds, epochs = _sorted(found)
    if len(epochs) > 1:
        yield "in the next epoch", _all(found, seeds, epochs[:1]), _all(found, seeds, epochs[1:2])


def next_seeds(found: ByKey) -> Beside:
    """Yield the draws of every epoch of the first seed beside those of the second one."""
    seeds, epochs = _sorted(found)
    if len(seeds) > 1:
        yield "of the next seed", _all(found, seeds[:1], epochs), _all(found, seeds[1:2], epochs)


def _sorted(found: ByKey) -> tuple[list[int], list[int]]:
    return sorted({seed for seed, _ in found}), sorted({epoch for _, epoch in found})


def _all(found: ByKey, seeds: list[int], epochs: list[int]) -> Labels:
    return np.concatenate([found[seed, epoch] for seed in seeds for epoch in epochs])


def of_spread(where: str, cells: NDArray[np.int64], count: int) -> Finding:
    """Return how evenly draws fall into so many equally likely cells.

    Parameters
    ----------
    cells : numpy.ndarray
        Number of each draw's cell, any shape.
    """
    counts = np.bincount(cells.ravel(), minlength=count)
    found = f"{counts.min()} to {counts.max()}, {np.count_nonzero(counts == 0)} never"
    expected = f"some {cells.size / count:.3g} draws in each of {counted(count, 'cell')}"
    return Finding(where, expected, found, spread(counts))


def of_table(
    where: str, rows: NDArray[np.int64], columns: NDArray[np.int64], cells: tuple[int, int]
) -> Finding:
    """Return how evenly pairs of draws fall into a table of equally likely cells."""
    return of_spread(where, rows * cells[1] + columns, cells[0] * cells[1])


def of_repeats(what: str, draws: Labels, places: float) -> Finding:
    """Return how many draws repeat an earlier one, of so many equally likely ones.

    Parameters
    ----------
    draws : numpy.ndarray
        Shape (n, quantities).
    """
    different = len(np.unique(draws, axis=0))
    expected = places * -np.expm1(len(draws) * np.log1p(-1 / places)) if places > 1 else 1
    return Finding(
        f"different {what} in {counted(len(draws), 'draw')}", f"some {expected:.0f}",
        str(different), repeats(len(draws) - different, len(draws), places),
    )  # fmt: skip


def row_spreads(
    where: str, rows: NDArray[np.int64], columns: NDArray[np.int64], cells: tuple[int, int],
    row: str,
) -> Iterator[Finding]:  # fmt: skip
    """Yield for each row how evenly its draws fall into equally likely columns.

    Of a row alone, so that it may hold a fixed number of draws, without replacement too.
    """
    for number in range(cells[0]):
        yield of_spread(f"{where}, {row} {number + 1} of {cells[0]}", columns[rows == number],
                        cells[1])  # fmt: skip


def order_agreements(where: str, a: NDArray[np.int64], b: NDArray[np.int64]) -> Iterator[Finding]:
    """Yield how many places, and how many neighbours, two orders of n samples have in common."""
    size = int(max(a.max(), b.max())) + 1
    pairs = b[: len(b) // 2 * 2].reshape(-1, 2)
    codes = np.unique(a[:-1] * size + a[1:])
    for what, count in (
        ("samples at one place in both", int(np.count_nonzero(a == b))),
        ("neighbours in both", int(np.isin(pairs[:, 0] * size + pairs[:, 1], codes).sum())),
        ("neighbours in reverse", int(np.isin(pairs[:, 1] * size + pairs[:, 0], codes).sum())),
    ):
        yield Finding(f"{where}, {what}", "one or two", str(count), agreement(count))
