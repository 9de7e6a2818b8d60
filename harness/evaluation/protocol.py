"""What is scored on what, and the functions that an evaluation is put together from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.recalibration import PooledStatistics, Statistics, pool_statistics
from harness.fc2.batch import Batch
from harness.supernet.epe import mean_epe, sample_epe
from harness.supernet.loss import accumulate_flow
from harness.supernet.network import frames_to_input
from harness.supernet.sharing.plan import Plan, plan_of

__all__ = ["EvalParts", "Protocol"]

Tensor = Any


@dataclass(frozen=True)
class EvalParts:
    """The functions that an evaluation is put together from."""

    frames_to_input: Callable[[Tensor], Tensor] = frames_to_input
    pool_statistics: Callable[[Sequence[Statistics], Sequence[int]], PooledStatistics] = (
        pool_statistics
    )
    accumulate_flow: Callable[[Sequence[Tensor]], Tensor] = accumulate_flow
    epe: Callable[..., NDArray[np.float64]] = sample_epe
    mean: Callable[[Sequence[float]], float] = mean_epe
    plan: Callable[[str], Plan] = plan_of


@dataclass(frozen=True)
class Protocol:
    """What is scored on what.

    Attributes
    ----------
    pool : tuple of arch code
        Archs, in order.
    eval_batches, recal_batches : tuple of Batch
        Decoded once, used for every arch.
    batches_asked : int or "full"
        As configured; the split may end earlier.
    """

    pool: tuple[tuple[int, ...], ...]
    eval_batches: tuple[Batch, ...]
    recal_batches: tuple[Batch, ...]
    batches_asked: int | str
