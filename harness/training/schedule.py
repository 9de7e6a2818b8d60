"""The plan of a run in closed form: steps, learning rates, clip checks."""

import math
from collections.abc import Sequence

__all__ = ["cosine_lr", "expected_clip_checks", "micro_batches"]

# Strict fairness: one arch for each option of a block.
_ARCHS_PER_STEP = 3


def cosine_lr(base_lr: float, step: int, total_steps: int) -> float:
    """Return the learning rate of one step: half a cosine from `base_lr` towards 0.

    ``base_lr * (1 + cos(pi * step / total_steps)) / 2`` (Loshchilov and Hutter, 2017,
    without restarts), with `step` counted from 0, so that the last step still moves.

    Raises
    ------
    ValueError
        If `step` is not in ``range(total_steps)``.
    """
    if not 0 <= step < total_steps:
        msg = f"step {step} is not one of the {total_steps} planned steps"
        raise ValueError(msg)
    return base_lr * 0.5 * (1.0 + math.cos(math.pi * step / total_steps))


def micro_batches(size: int, micro_batch: int) -> list[slice]:
    """Return the slices that cut a batch of `size` into micro-batches; the last is partial."""
    return [slice(i, min(i + micro_batch, size)) for i in range(0, size, micro_batch)]


def expected_clip_checks(planned_sizes: Sequence[int], micro_batch: int, *, position: str) -> int:
    """Return how many clip checks an epoch makes, from the plan and never from counting.

    ``micro_step``: ``3 * sum(ceil(b / micro_batch))`` over the planned batch sizes b,
    which is ``steps * 3 * ceil(batch / micro_batch)`` where all batches are full.
    ``update``: one per planned step.

    Raises
    ------
    ValueError
        If `position` is neither.
    """
    if position == "update":
        return len(planned_sizes)
    if position == "micro_step":
        return _ARCHS_PER_STEP * sum(-(-size // micro_batch) for size in planned_sizes)
    msg = f"clip position is 'micro_step' or 'update', got {position!r}"
    raise ValueError(msg)
