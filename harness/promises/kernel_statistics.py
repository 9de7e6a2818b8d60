"""Figures of kernels before training: alike, correlated, of another scale than named."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.promises.asked_draws import Kernels
from harness.promises.chance import Finding, signs
from harness.promises.joint_tables import of_spread
from harness.promises.promise import Violation

__all__ = ["kernel_findings"]

Named = Sequence[tuple[str, NDArray[np.float64]]]
"""Kernels with words that say which."""

_ALIKE = 4
"""From so many values on two kernels, or filters of one, are no coincidence if equal: floats of 20
random bits or more agree once in 10^24."""

_BEGINNING = 8
"""So many first values, each to a part in 10,000 of the largest: alike once in 10^20."""

_COMPARED = (128, 1024)
"""So many first values of kernels are multiplied: a stream that starts anew for each shows there,
whatever their shapes. Fewer could not tell two equal ones from chance; more tell a part of one."""

_CELLS = 8


def kernel_findings(evidence: Kernels) -> tuple[list[Violation], list[Finding], int]:
    """Return kernels that are alike, figures with their chances, and how many kernels were drawn.

    One that every seed gives the same value is not drawn, but set: zeros, an identity.
    """
    seeds = list(evidence.by_seed)
    drawn = (
        [name for name in evidence.by_seed[seeds[0]] if _is_drawn(name, evidence)] if seeds else []
    )
    named = [
        (f"{name} of seed {seed}", np.asarray(evidence.by_seed[seed][name], np.float64))
        for seed in seeds for name in drawn
    ]  # fmt: skip
    wrong = [*_equal_kernels(named), *_one_beginning(named), *_equal_filters(named)]
    found = [*_correlations(named), *_scales(named, evidence.initializer)]
    return wrong, found, len(named)


def _is_drawn(name: str, evidence: Kernels) -> bool:
    values = [np.asarray(kernels[name]) for kernels in evidence.by_seed.values()]
    if len(values) == 1:  # of one seed: what is no constant
        return bool(np.ptp(values[0]) > 0)
    return not all(np.array_equal(values[0], other) for other in values[1:])


def _equal_kernels(named: Named) -> Iterator[Violation]:
    first: dict[tuple[tuple[int, ...], bytes], str] = {}
    for name, kernel in named:
        key = (kernel.shape, kernel.tobytes())
        if kernel.size >= _ALIKE and first.setdefault(key, name) != name:
            yield Violation(
                f"kernel {name}", "another than any other", f"that of {first[key]}", "draws"
            )


def _one_beginning(named: Named) -> Iterator[Violation]:
    """Yield kernels that begin alike but for a factor: one stream, started anew for each."""
    first: dict[bytes, str] = {}
    for name, kernel in named:
        beginning = kernel.ravel()[:_BEGINNING]
        if len(beginning) < _BEGINNING or not beginning.any():
            continue
        # Added to, or -0.0 would differ from 0.0.
        key = (np.round(beginning / np.abs(beginning).max(), 4) + 0.0).tobytes()
        if first.setdefault(key, name) != name:
            where, found = f"beginning of kernel {name}", f"that of {first[key]}, scaled"
            yield Violation(where, "another than any other", found, "draws")


def _equal_filters(named: Named) -> Iterator[Violation]:
    for name, kernel in named:
        filters = kernel.reshape(-1, kernel.shape[-1]).T
        different = len(np.unique(filters, axis=0))
        if filters.shape[1] >= _ALIKE and different < len(filters):
            where = f"output channels of kernel {name}"
            yield Violation(where, f"{len(filters)} different", str(different), "draws")


def _correlations(named: Named) -> Iterator[Finding]:
    """Yield the largest correlation of any two kernels: a figure with the chance of all."""
    for length in _COMPARED:
        compared = [(name, k.ravel()[:length]) for name, k in named if k.size >= length]
        if len(compared) > 1:
            yield _largest_correlation(compared, length)


def _largest_correlation(compared: Named, length: int) -> Finding:
    values = np.stack([kernel / np.abs(kernel).max() for _, kernel in compared])
    ratios = np.abs(values @ values.T) / np.sqrt((values**2) @ (values**2).T)
    np.fill_diagonal(ratios, 0)
    i, j = divmod(int(ratios.argmax()), len(ratios))
    pairs = len(compared) * (len(compared) - 1) / 2
    return Finding(
        f"kernels {compared[i][0]} and {compared[j][0]}, first {length} values",
        "no correlation", f"{ratios[i, j]:.3g} times that of random signs",
        min(0.0, signs(float(ratios[i, j])) + math.log(pairs)),
    )  # fmt: skip


def _scales(named: Named, initializer: str) -> Iterator[Finding]:
    """Yield how evenly kernels fill the range that their initialiser draws from."""
    if not initializer:
        return
    scaled = {name: kernel / _limit(initializer, kernel.shape) for name, kernel in named}
    for name, kernel in scaled.items():
        yield _filled(f"kernel {name}, of {initializer}'s range", kernel)
    if scaled:
        every = np.concatenate([kernel.ravel() for kernel in scaled.values()])
        yield _filled(f"all kernels, of {initializer}'s range", every)


def _filled(where: str, scaled: NDArray[np.float64]) -> Finding:
    most = float(np.abs(scaled).max())
    # Rounding to float32 may carry the last value over the border.
    if most > 1 + 1e-6:
        return Finding(where, "at most 1 times the limit", f"{most:.4g}", -math.inf)
    cells = np.clip((scaled + 1) / 2 * _CELLS, 0, _CELLS - 1).astype(np.int64)
    return of_spread(where, cells, _CELLS)


_FANS: Mapping[str, tuple[float, float, float]] = {
    "glorot_uniform": (6.0, 1.0, 1.0),
    "he_uniform": (6.0, 1.0, 0.0),
    "lecun_uniform": (3.0, 1.0, 0.0),
}
"""Limits: the root of the first over the sum of fan-in and fan-out, each times its share."""


def _limit(initializer: str, shape: tuple[int, ...]) -> float:
    """Return the limit of a kernel (h, w, inputs, outputs), drawn uniformly up to it."""
    numerator, inputs, outputs = _FANS[initializer]
    area = math.prod(shape[:-2])
    return math.sqrt(numerator / (area * (inputs * shape[-2] + outputs * shape[-1])))
