"""The samples of a training batch, as a DataLoader gave them, told apart by their shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harness.systems.torch.samples import known_flow
from harness.systems.torch.scoring import channels_last, numbers
from harness.systems.torch.watch import arrays_in

__all__ = ["NotApplicableError", "samples_of", "told_apart"]


class NotApplicableError(Exception):
    """What is asked does not exist here; the promise is then not applicable, in these words."""


def told_apart(batch: Any) -> tuple[Any, ...]:
    """Return both images, the flow, and where it is known, if a batch has it.

    Images are two arrays of three channels or one of six, the flow is one of two, the mask has no
    channels or one; channels come first or last. Arrays of fewer axes are left alone.

    Raises
    ------
    NotApplicableError
        If a batch has others, more of these, or fewer.
    """
    arrays = [array for array in arrays_in(batch) if array.ndim >= 3]
    found: dict[int, list[Any]] = {1: [], 2: [], 3: []}
    for array in arrays:
        first = _channels_first(array)
        for part in np.split(first, 2, axis=1) if first.shape[1] == 6 else [first]:
            found.setdefault(part.shape[1], []).append(part)
    counts = {channels: len(several) for channels, several in found.items() if several}
    if counts not in ({2: 1, 3: 2}, {1: 1, 2: 1, 3: 2}):
        shapes = ", ".join(str(array.shape) for array in arrays) or "none"
        raise NotApplicableError(
            "which arrays of a training batch are images, flow and mask is not told by their "
            "shapes, %s: trained_on(batch) may return them" % shapes
        )
    return (*found[3], *found[2], *(mask[:, 0] for mask in found[1]))


def _channels_first(array: Any) -> Any:
    """Return (B, H, W), (B, C, H, W) or (B, H, W, C) as (B, C, H, W)."""
    if array.ndim != 4:
        return array[:, None] if array.ndim == 3 else array[:, :0]  # of more axes: told by none
    last = array.ndim == 4 and array.shape[1] not in _CHANNELS and array.shape[-1] in _CHANNELS
    return np.moveaxis(array, -1, 1) if last else array


_CHANNELS = (1, 2, 3, 6)


def samples_of(trained_on: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield each sample of a batch as the protocol has it."""
    first, second, flow = (channels_last(array) for array in trained_on[:3])
    label, valid = known_flow(flow, *(numbers(mask) for mask in trained_on[3:4]))
    for one in zip(first, second, label, valid):
        # Copies: a loop may go on to change what it was given.
        yield {n: np.array(a) for n, a in zip(("first", "second", "flow", "valid"), one)}
