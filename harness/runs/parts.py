"""The builtin system's parts, so that it can be broken one part at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.evaluation.evaluator import EvalParts
from harness.evaluation.ranking import build_pool, kendall_tau
from harness.fc2.provider import DataParts
from harness.training.step import TrainParts

__all__ = ["Parts"]


@dataclass(frozen=True)
class Parts:
    """Everything the builtin system is put together from.

    Attributes
    ----------
    data : DataParts
        list, decode, crop, order.
    train : TrainParts
        frames to input, loss, fair cycle, initial weight, accumulate, clip, apply, schedule, count,
        save, restore.
    evaluation : EvalParts
        frames to input, recalibrate, accumulate flow, EPE, mean.
    rank : callable
        Kendall's tau-b of two score lists.
    pool : callable
        The archs of a pool, from seed and size.
    """

    data: DataParts = field(default_factory=DataParts)
    train: TrainParts = field(default_factory=TrainParts)
    evaluation: EvalParts = field(default_factory=EvalParts)
    rank: Callable[[Sequence[float], Sequence[float]], tuple[float | None, str | None]] = (
        kendall_tau
    )
    pool: Callable[..., tuple[tuple[int, ...], ...]] = build_pool
