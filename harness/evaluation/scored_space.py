"""Archs with their scores and costs, and what follows for the search space. No TensorFlow."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.search_space import (
    ESTIMATOR,
    SPACE_SIZE,
    Effects,
    Stability,
    main_effects,
    pareto_front,
    stability_by_batches,
)
from harness.supernet.costs import SpaceCosts, option_names, space_costs
from harness.supernet.space import format_arch, parse_arch

__all__ = ["COSTS", "CSV_COLUMNS", "ScoredSpace", "csv_text", "scored_space"]

COSTS = ("macs", "parameters")
"""What a front is drawn against."""
CSV_COLUMNS = ("arch", "epe_px", "macs", "parameters", "on_front_macs", "on_front_parameters")


@dataclass(frozen=True)
class ScoredSpace:
    """Scored archs, and what they say of the space.

    Attributes
    ----------
    skeleton, width, size
        Key of :data:`harness.supernet.space.SKELETONS`, base width C, crop (height, width) in px.
    archs : tuple of str
        As scored.
    epe : tuple of float
        Shape (archs,), px.
    costs : SpaceCosts
        Of every arch of the space.
    effects : Effects
        Of the options of each block.
    stability : tuple of Stability
        By K; none where scores of single samples are not there, or of one batch alone.
    """

    skeleton: str
    width: int
    size: tuple[int, int]
    archs: tuple[str, ...]
    epe: tuple[float, ...]
    costs: SpaceCosts
    effects: Effects
    stability: tuple[Stability, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every arch of the space is scored."""
        return len(self.archs) == SPACE_SIZE

    @property
    def blocks(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Each block's name, and what its options are."""
        return option_names(self.skeleton)

    @cached_property
    def _costs(self) -> dict[str, tuple[int, ...]]:
        codes = [parse_arch(arch) for arch in self.archs]
        return {kind: tuple(getattr(self.costs, kind).of(codes).tolist()) for kind in COSTS}

    def cost(self, kind: str) -> tuple[int, ...]:
        """Return what each arch costs, of one of :data:`COSTS`."""
        return self._costs[kind]

    def on_front(self, kind: str) -> list[bool]:
        """Return whether each arch is on the front of EPE against one of :data:`COSTS`."""
        return pareto_front(self.cost(kind), self.epe)

    def front(self, kind: str) -> list[int]:
        """Return the places of the archs on a front, cheapest first."""
        cost = self.cost(kind)
        on = self.on_front(kind)
        return sorted(
            (i for i in range(len(cost)) if on[i]), key=lambda i: (cost[i], self.archs[i])
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-able, without the scores."""
        return {
            "skeleton": self.skeleton, "width": self.width, "crop": list(self.size),
            **{kind: list(self.cost(kind)) for kind in COSTS},
            "fronts": {kind: [self.archs[i] for i in self.front(kind)] for kind in COSTS},
            "blocks": [{"block": name, "options": list(options)} for name, options in self.blocks],
            "estimator": ESTIMATOR, "effects": asdict(self.effects),
            "stability": [asdict(one) for one in self.stability],
        }  # fmt: skip


def scored_space(
    archs: Sequence[str], epe: Sequence[float], *, skeleton: str, width: int, size: tuple[int, int],
    per_sample: Mapping[str, Sequence[float]] | None = None, batch_sizes: Sequence[int] = (),
) -> ScoredSpace:  # fmt: skip
    """Return what scores say of the space.

    Parameters
    ----------
    archs : sequence of str
        Codes of nine digits, each once.
    epe : sequence of float
        Of each, px.
    skeleton, width, size
        As for :func:`harness.supernet.costs.space_costs`.
    per_sample : mapping of str to sequence of float, optional
        Each arch's EPE by sample, px: gives effects their error over samples.
    batch_sizes : sequence of int, optional
        Samples of each batch, with `per_sample`: gives the stability by K.

    Raises
    ------
    ValueError
        If a code is invalid or there twice, or a score is not finite.
    """
    codes = [parse_arch(arch) for arch in archs]
    each: NDArray[np.float64] | None = None
    if per_sample is not None:
        each = np.array([per_sample[arch] for arch in archs], np.float64)
    scores = np.asarray(epe, np.float64) if each is None else each
    stable = stability_by_batches(each, batch_sizes) if each is not None else ()
    return ScoredSpace(
        skeleton, width, size, tuple(map(format_arch, codes)), tuple(epe),
        space_costs(skeleton, width, size), main_effects(codes, scores), stable,
    )  # fmt: skip


def csv_text(space: ScoredSpace) -> str:
    """Return a row for each arch, in the order scored; numbers with all their digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(_rows(space))
    return file.getvalue()


def _rows(space: ScoredSpace) -> Iterator[tuple[str, str, int, int, int, int]]:
    costs = [space.cost(kind) for kind in COSTS]
    fronts = [space.on_front(kind) for kind in COSTS]
    for place, (arch, epe) in enumerate(zip(space.archs, space.epe, strict=True)):
        macs, parameters = (cost[place] for cost in costs)
        on_macs, on_parameters = (int(front[place]) for front in fronts)
        yield arch, repr(epe), macs, parameters, on_macs, on_parameters
