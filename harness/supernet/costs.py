"""What each arch of a space costs to run: multiply-accumulates and parameters. No TensorFlow."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from harness.supernet.macs import pool_macs
from harness.supernet.space import (
    NUM_BLOCKS,
    NUM_OPTIONS,
    SKELETONS,
    Skeleton,
    Stage,
    active_units,
    check_arch,
    option_kernels,
    variable_shapes,
)

__all__ = ["Additive", "SpaceCosts", "option_names", "space_costs"]

Arch = tuple[int, ...]
_FIRST = (0,) * NUM_BLOCKS


@dataclass(frozen=True)
class Additive:
    """A cost that each block adds its part to.

    Attributes
    ----------
    base : int
        Of the arch of options 0.
    more : tuple of tuple of int
        Shape (9, 3): what an option of a block costs beyond its option 0.
    """

    base: int
    more: tuple[tuple[int, ...], ...]

    def of(self, archs: Iterable[Sequence[int]]) -> NDArray[np.int64]:
        """Return the cost of each arch, shape (archs,), int64."""
        codes = np.array([tuple(arch) for arch in archs], np.int64).reshape(-1, NUM_BLOCKS)
        more = np.array(self.more, np.int64)
        found: NDArray[np.int64] = self.base + more[np.arange(NUM_BLOCKS), codes].sum(axis=1)
        return found


@dataclass(frozen=True)
class SpaceCosts:
    """What an arch of a space costs.

    Attributes
    ----------
    macs : Additive
        Multiply-accumulates of the convolutions, of one sample.
    parameters : Additive
        Kernels, gammas and betas that run. Moving statistics are none.
    """

    macs: Additive
    parameters: Additive


def space_costs(skeleton: str, width: int, size: tuple[int, int]) -> SpaceCosts:
    """Return what every arch costs.

    Parameters
    ----------
    skeleton : str
        Key of :data:`harness.supernet.space.SKELETONS`.
    width : int
        Base width C.
    size : (int, int)
        Crop, (height, width), px.

    Raises
    ------
    ValueError
        If the skeleton's strides do not divide the crop.
    """

    def macs(arch: Arch) -> int:
        found = pool_macs(skeleton, width, size, [arch], recal_samples=0, eval_samples=1)
        return found.chosen

    space = SKELETONS[skeleton]
    weights = {name: prod(shape) for name, shape in variable_shapes(space, width).items()}
    return SpaceCosts(_additive(macs), _additive(lambda arch: _parameters(space, weights, arch)))


def _parameters(space: Skeleton, weights: dict[str, int], arch: Arch) -> int:
    kernels = option_kernels(space)
    optional = {name for block in kernels for option in block for name in option}
    runs = {name for block, code in zip(kernels, arch, strict=True) for name in block[code]}
    units = active_units(space, check_arch(arch))
    runs |= {f"{unit}/{kind}" for unit in units for kind in ("gamma", "beta")}
    runs |= {name for name in weights if name.endswith("/kernel") and name not in optional}
    return sum(weights[name] for name in runs)


def _additive(cost: Callable[[Arch], int]) -> Additive:
    """Take a cost apart by blocks: no kernel depends on two digits of a code."""
    base = cost(_FIRST)
    more = tuple(
        tuple(
            cost((*_FIRST[:block], option, *_FIRST[block + 1 :])) - base
            for option in range(NUM_OPTIONS)
        )
        for block in range(NUM_BLOCKS)
    )
    return Additive(base, more)


def option_names(skeleton: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return each block's name, and in words what its options are, in the order of the code."""
    space = SKELETONS[skeleton]
    blocks = sorted(
        (stage for stage in space.stages if stage.choice is not None), key=space.code_index
    )
    return tuple((stage.name, _options(space, stage)) for stage in blocks)


def _options(space: Skeleton, stage: Stage) -> tuple[str, ...]:
    if stage.choice == "kernel":
        return tuple(f"{side} x {side}" for side in space.kernels)
    return tuple(f"depth {option + 1}" for option in range(NUM_OPTIONS))
