"""What was seen of training, as the protocol's records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.systems.torch.samples import digest
from harness.systems.torch.watch import Seen

__all__ = ["planned_sizes", "step_record", "training_of"]


def planned_sizes(loader: Any) -> tuple[int, ...]:
    """Return the batch sizes of a pass over a DataLoader; none where it does not say them."""
    size = getattr(loader, "batch_size", None)
    if size is None or not hasattr(loader.sampler, "__len__"):
        return ()
    count = len(loader.sampler)
    sizes = [min(size, count - start) for start in range(0, count, size)]
    return tuple(one for one in sizes if one == size or not loader.drop_last)


def step_record(seen: Seen, epoch: int, step: int, archs: Sequence[str]) -> dict[str, Any]:
    """Return the record of one step."""
    return {
        "epoch": epoch, "step": step, "archs": list(archs), "lr": seen.rate,
        "batch": seen.batches[0] if len(seen.batches) == 1 else digest(*seen.batches),
        "loss": sum(seen.losses), "checks": len(seen.clips),
        "clipped": sum(before > threshold for before, _, threshold in seen.clips),
        "norm": max((before for before, _, _ in seen.clips), default=0.0),
    }  # fmt: skip


def training_of(
    made: Sequence[dict[str, Any]], every: Sequence[Seen], sizes: Sequence[int], train: Any
) -> dict[str, Any]:
    """Return what a call of ``train`` did, of the records of its steps and what was seen."""
    clips = [
        (record["epoch"], record["step"], clip)
        for record, seen in zip(made, every) for clip in seen.clips
    ]  # fmt: skip
    batch = int(train["batch_size"])
    micro = int(train.get("micro_batch_size") or batch)
    return {
        "planned_sizes": list(sizes), "batch_size": batch, "position": "update",
        "micro_batch": micro,
        "threshold": clips[-1][2][2] if clips else 0.0, "steps": list(made),
        "checks": [
            {"epoch": epoch, "step": step, "before": before, "after": after}
            for epoch, step, (before, after, _) in clips
        ],
        "losses": [
            loss
            for record, seen in zip(made, every)
            for loss in _mean_losses(seen, len(record["archs"]), micro)
        ],
        "samples": [seen.samples for seen in every],
        "modes": [seen.modes for seen in every],
    }  # fmt: skip


def _mean_losses(seen: Seen, archs: int, micro: int) -> list[float]:
    """Return the mean loss of each micro-batch of a step, of what it differentiated.

    That is a share of the step's loss, whose gradients add up: the mean over archs, of the mean
    over samples. Where losses are not those of micro-batches, what they add up to is one loss.
    """
    losses, size = seen.losses, len(seen.samples)
    pieces = [min(micro, size - start) for start in range(0, size, micro)] * archs
    if len(pieces) == len(losses):
        return [loss * archs * size / piece for loss, piece in zip(losses, pieces)]
    if len(losses) == len(seen.batches):  # of batches that are accumulated, of whatever sizes
        return [loss * len(losses) for loss in losses]
    return [sum(losses)] if archs < 2 and losses else losses
