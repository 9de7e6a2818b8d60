"""Which samples make which batch: pure functions of seed, epoch and index."""

from collections.abc import Sequence

from harness.streams import choice_with_replacement, permutation

__all__ = ["batch_sizes", "eval_order", "split_batches", "train_order"]


def train_order(
    count: int, *, seed: int, epoch: int, batch_size: int, steps: int | None
) -> list[int]:
    """Return the sample indices of one training epoch, in the order drawn.

    Parameters
    ----------
    count : int
        Number of samples.
    seed, epoch : int
        Select the draw; epochs count from 1.
    batch_size : int
        Samples per step.
    steps : int or None
        None: one full pass, a permutation, each sample once (EdgeFlowNAS's
        ``full_pass``). A number: that many full batches drawn with replacement
        (EdgeFlowNAS's ``fixed_steps``).
    """
    if steps is None:
        return permutation(seed, "train/order", epoch, n=count)
    return choice_with_replacement(seed, "train/draw", epoch, n=count, size=steps * batch_size)


def eval_order(count: int) -> list[int]:
    """Return the fixed evaluation order: from the start, each sample once."""
    return list(range(count))


def split_batches(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut an order into batches; the last one is partial where it does not divide."""
    return [list(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]


def batch_sizes(count: int, *, batch_size: int, steps: int | None) -> list[int]:
    """Return the planned size of each batch of one training epoch.

    Arithmetic on the plan alone, so that what a run counted can be held against it.
    """
    if steps is not None:
        return [batch_size] * steps
    full, rest = divmod(count, batch_size)
    return [batch_size] * full + ([rest] if rest else [])
