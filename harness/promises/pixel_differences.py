"""A served sample beside the same window of an independent decode, pixel by pixel."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.pixels import (
    Expected,
    flow_instead,
    frames_instead,
    only_place,
    valid_instead,
)
from harness.promises.promise import Violation
from harness.promises.samples import UNKNOWN_FLOW
from harness.promises.shown import Flows, Frames, Masks, Shown, Windows
from harness.systems.protocol import ServedBatch

__all__ = ["Decoded", "first_pixel_differences"]


Decoded = Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]


def first_pixel_differences(
    batch: ServedBatch,
    position: int,
    window: tuple[int, ...],
    decoded: Decoded,
    flow_clip: float | None,
) -> list[Violation]:
    """Compare a served sample with the window of an independent decode."""
    sample = batch.ids[position]
    top, left, height, width = window
    rows, columns = slice(top, top + height), slice(left, left + width)
    frames = decoded[sample][0][rows, columns]
    raw = decoded[sample][1][rows, columns]
    known = np.asarray((np.abs(raw) <= UNKNOWN_FLOW).all(axis=-1))
    flow = np.where(known[..., np.newaxis], raw, np.float32(0))
    if flow_clip is not None:
        flow = np.clip(flow, -flow_clip, flow_clip)
    served = {
        "img_0 (BGR)": (frames[..., :3], batch.frames[position][..., :3]),
        "img_1 (BGR)": (frames[..., 3:], batch.frames[position][..., 3:]),
        "flow": (flow, batch.flow[position]),
        "valid": (known, batch.valid[position]),
    }
    instead = partial(_instead, sample, window, decoded, flow_clip)
    return [
        replace(
            violation, kind="label" if name in ("flow", "valid") else "frames",
            shown=_shown(f"sample {sample}, {name}", name, served, decoded[sample][0], window),
        )
        for name, (expected, found) in served.items()
        if (violation := _first_difference(f"sample {sample}, {name}", expected, found,
                                           partial(instead, name), rounds=name == "flow"))
    ]  # fmt: skip


def _shown(
    title: str, name: str, served: Mapping[str, tuple[Any, Any]], frames: NDArray[np.uint8],
    window: tuple[int, ...],
) -> tuple[Shown, ...]:  # fmt: skip
    """Return one of the served arrays beside what it should be, and where it lies in its frame."""
    expected, found = served[name]
    if name == "valid":
        return (Masks(title, expected, found),)
    if name == "flow":
        return (Flows(title, expected, found, served["valid"][0]),)
    whole = frames[..., 3:] if name.startswith("img_1") else frames[..., :3]
    (top, left, height, width), place = window, only_place(whole, found)
    there = None if place is None else (*place, *found.shape[:2])
    size = (whole.shape[0], whole.shape[1])
    where = Windows(f"{title}: its place", size, (top, left, height, width), there, whole)
    return (Frames(title, expected, found), *((where,) if there else ()))


def _instead(
    sample: str, window: tuple[int, ...], decoded: Decoded, flow_clip: float | None, name: str,
    found: Any,
) -> str:  # fmt: skip
    """Return what a served array is instead, in words."""
    if name.startswith("img"):
        frames = {key: value[0] for key, value in decoded.items()}
        return frames_instead(
            Expected(sample, window, frames), found, second=name.startswith("img_1")
        )
    known = {k: np.asarray((np.abs(f) <= UNKNOWN_FLOW).all(-1)) for k, (_, f) in decoded.items()}
    if name == "valid":
        return valid_instead(Expected(sample, window, known), found)
    limit = np.inf if flow_clip is None else flow_clip
    flows = {
        key: np.clip(np.where(known[key][..., np.newaxis], flow, np.float32(0)), -limit, limit)
        for key, (_, flow) in decoded.items()
    }
    raw = Expected(sample, window, {sample: decoded[sample][1]}).cut
    return flow_instead(Expected(sample, window, flows), found, raw)


def _first_difference(
    where: str, expected: Any, found: Any, instead: Callable[[Any], str], *, rounds: bool
) -> Violation | None:
    if expected.shape != found.shape:
        what = f"shape {found.shape}{instead(found)}"
        return Violation(where, f"shape {expected.shape}", what)
    different = expected != found
    if rounds:
        different &= ~_rounded(expected, found)
    if not different.any():
        return None
    place = tuple(int(i) for i in np.argwhere(different)[0])
    share = 100.0 * float(different.mean())
    what = f"{found[place]} ({share:.1f} % differ){instead(found)}"
    return Violation(f"{where}, at {place}", str(expected[place]), what)


def _rounded(expected: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where flow is off by what it may be that was divided and multiplied again.

    By any number that is no power of two: each of both operations rounds by half a place.
    """
    return np.asarray(np.abs(found - expected) <= 2 * np.spacing(np.abs(expected)))
