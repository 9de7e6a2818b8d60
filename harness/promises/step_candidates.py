"""What a figure of steps is instead: losses, gradient norms, clip checks."""

import math
import statistics
from collections.abc import Sequence

from harness.promises.candidates import instead, mean_of

__all__ = [
    "by_step", "clip_column_instead", "mean_instead", "norm_instead", "step_means_instead",
]  # fmt: skip


def by_step(values: Sequence[float], counts: Sequence[int]) -> list[list[float]]:
    """Return an epoch's values step by step; none where the counts are not those of the values."""
    if sum(counts) != len(values):
        return []
    found, start = [], 0
    for count in counts:
        found.append(list(values[start : start + count]))
        start += count
    return [step for step in found if step]


def mean_instead(
    found: float | None, steps: Sequence[Sequence[float]],
    before: Sequence[Sequence[float]] = (), *, archs: int = 3, of: str = "micro-batch",
) -> str:  # fmt: skip
    """Return what was found where the mean over an epoch's values is due.

    Parameters
    ----------
    steps : sequence of sequence of float
        The values of each step, archs outermost.
    before : sequence of sequence of float, optional
        Those of the epoch before.
    archs : int, default 3
        Archs of a step, which its values are shared between.
    of : str
        What a value is of.
    """
    values = [value for step in (*before, *steps) for value in step]
    if not any(steps) or not all(map(math.isfinite, values)):
        return ""
    return instead(found, _of_one_epoch(steps, archs, of) | _of_two_epochs(steps, before))


def _of_one_epoch(
    steps: Sequence[Sequence[float]], archs: int, of: str
) -> dict[str, float | None]:  # fmt: skip
    flat = [value for step in steps for value in step]
    shares = [(step, max(len(step) // archs, 1)) for step in steps]
    last = [value for step, share in shares for value in step[-share:]]
    first = [value for step, share in shares for value in step[:share]]
    return {
        "the sum, not the mean": math.fsum(flat),
        "the mean over steps, each weighing the same": mean_of([mean_of(step) for step in steps]),
        f"the mean over each step's last {of} alone": mean_of([step[-1] for step in steps]),
        f"the mean over each step's first {of} alone": mean_of([step[0] for step in steps]),
        "the mean over each step's last arch alone": mean_of(last),
        "the mean over each step's first arch alone": mean_of(first),
        "the mean over each step's largest": mean_of([max(step) for step in steps]),
        "the mean of each step's sum": mean_of([math.fsum(step) for step in steps]),
        "the last step's alone": mean_of(steps[-1]),
        f"the last {of}'s alone": flat[-1],
        "the first step's alone": mean_of(steps[0]),
        f"the first {of}'s alone": flat[0],
        f"the mean over all but the last {of}": mean_of(flat[:-1]) if flat[1:] else None,
        "the median": statistics.median(flat),
        "the largest": max(flat),
        "the smallest": min(flat),
    }


def _of_two_epochs(
    steps: Sequence[Sequence[float]], before: Sequence[Sequence[float]]
) -> dict[str, float | None]:
    earlier = [value for step in before for value in step]
    if not earlier:
        return {}
    flat = [value for step in steps for value in step]
    return {
        "that of the epoch before": mean_of(earlier),
        "the mean over this epoch and the one before": mean_of([*earlier, *flat]),
    }


def step_means_instead(
    found: float, losses: Sequence[float], weights: Sequence[int], before: Sequence[float]
) -> str:
    """Return what an epoch's mean loss is instead, of its steps' means.

    Parameters
    ----------
    losses, before : sequence of float
        Each step's mean, of this epoch and of the one before.
    weights : sequence of int
        Micro-batches of each step.
    """
    if not all(map(math.isfinite, [*losses, *before])):
        return ""
    total = math.fsum(loss * weight for loss, weight in zip(losses, weights, strict=True))
    same_plan = len(before) == len(losses)
    return instead(
        found,
        {
            "the mean over steps, each weighing the same": math.fsum(losses) / len(losses),
            "the sum over micro-batches, not the mean": total,
            "the sum over steps, not the mean": math.fsum(losses),
            "the last step's alone": losses[-1],
            "the first step's alone": losses[0],
            "that of the epoch before": math.fsum(
                loss * weight for loss, weight in zip(before, weights, strict=True)
            ) / sum(weights) if same_plan else None,
            "the sum over micro-batches divided by the steps": total / len(losses),
        },
    )  # fmt: skip


def clip_column_instead(
    name: str, found: float | None, steps: Sequence[Sequence[float]],
    before: Sequence[Sequence[float]], threshold: float,
) -> str:  # fmt: skip
    """Return what a clip figure of an epoch is instead.

    Parameters
    ----------
    name : str
        The column.
    steps, before : sequence of sequence of float
        Norms before clipping, by step, of this epoch and of the one before.
    threshold : float
        Clip norm.
    """
    norms = [norm for step in steps for norm in step]
    if not norms or not all(map(math.isfinite, norms)):
        return ""
    if name == "train_grad_norm_epoch_avg":
        after = {"the mean after clipping": mean_of([min(n, threshold) for n in norms])}
        return mean_instead(found, steps, before, of="clip check") or instead(found, after)
    if name not in ("clip_count", "clip_rate"):
        return ""
    earlier = [norm for step in before for norm in step]
    over, largest = sum(n > threshold for n in norms), [max(step) for step in steps]
    count = {
        "that of the epoch before": float(sum(n > threshold for n in earlier)),
        "of this epoch and the one before": float(over + sum(n > threshold for n in earlier)),
        "counted once a step that clips": float(sum(n > threshold for n in largest)),
        "counted by each step's last check alone": float(sum(s[-1] > threshold for s in steps)),
        "every check": float(len(norms)),
        "the checks that do not clip": float(len(norms) - over),
    }
    if name == "clip_count":
        return instead(found, count)
    rate = {
        "that of the epoch before": count["that of the epoch before"] / max(len(earlier), 1),
        "the share of steps that clip": count["counted once a step that clips"] / len(steps),
        "the checks that clip, per step": over / len(steps),
        "in per cent, not as a share": 100.0 * over / len(norms),
        "the count, not the share": float(over),
        "the share that does not clip": 1.0 - over / len(norms),
    }
    return instead(found, rate)


def norm_instead(found: float, norms: Sequence[float], threshold: float) -> str:
    """Return what a step's norm is instead of the largest of its clip checks."""
    if not norms or not all(map(math.isfinite, norms)):
        return ""
    return instead(
        found,
        {
            "the last check's alone": norms[-1],
            "the first check's alone": norms[0],
            "the mean of its checks": mean_of(norms),
            "the largest after clipping": min(max(norms), threshold),
            "the last after clipping": min(norms[-1], threshold),
            "the sum of its checks": math.fsum(norms),
            "the smallest of its checks": min(norms),
            "the root of the sum of squares": math.sqrt(math.fsum(n * n for n in norms)),
        },
    )
