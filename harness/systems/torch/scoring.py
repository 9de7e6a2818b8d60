"""Scores of a trainer's own validation, sample by sample, and what they are made on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from harness.systems.torch.samples import FlowSample, digest, known_flow, read_flo
from harness.systems.torch.state import array_of

__all__ = [
    "as_images",
    "as_read",
    "as_stored",
    "channels_first",
    "channels_last",
    "evaluation",
    "modes_kept",
    "numbers",
    "served",
    "validated",
]

_Label = Callable[[FlowSample], "tuple[Any, Any]"]


def validated(
    validate: Callable[[list[FlowSample]], Any], samples: list[FlowSample]
) -> tuple[float, list[float]]:
    """Return the mean EPE that a validation reports of samples, and the EPE of each, px."""
    found = validate(samples)
    if np.ndim(found):
        each = [float(epe) for epe in found]
        return float(np.mean(each)), each
    return float(found), [float(validate([sample])) for sample in samples]


def evaluation(
    scores: dict[str, tuple[float, list[float]]], samples: Sequence[FlowSample], label: _Label,
    *, pixels: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return an evaluation's record; of the all-zero flow the scores are computed here.

    Parameters
    ----------
    pixels : bool, default False
        Whether the validation's mean is over pixels, not over samples.
    """
    reported = [mean for mean, _ in scores.values()]
    labels = [label(sample) for sample in samples]
    zero = [np.sqrt((f.astype(np.float64) ** 2).sum(-1))[known] for f, known in labels]
    means = [lengths.mean() for lengths in zero]
    return {
        "archs": list(scores),
        "per_arch_epe": reported,
        "per_sample": {arch: each for arch, (_, each) in scores.items()},
        "mean_epe": float(np.mean(reported)),
        "zero_flow_epe": float(np.mean(np.concatenate(zero) if pixels else means)),
        **({"pixels": [len(lengths) for lengths in zero]} if pixels else {}),
        "eval_batch_hash": digest(*(part for sample in samples for part in _content(sample))),
    }


def _content(sample: FlowSample) -> Iterator[Any]:
    """Yield a sample's id, and what its files hold."""
    yield sample.id
    for path in sample[1:]:
        with open(path, "rb") as file:
            yield file.read()


def as_stored(sample: FlowSample) -> tuple[Any, Any]:
    """Return a sample's flow (H, W, 2) and where it is known, as they lie on disk."""
    return known_flow(read_flo(sample.flow))


def as_read(read: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return flow (H, W, 2) and where it is known of what ``read`` gave."""
    _, _, flow, *valid = read
    return known_flow(channels_last(flow), *map(numbers, valid))


def served(samples: Sequence[FlowSample], read: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Return a batch of what ``read`` gave of samples, as a ServedBatch."""
    images = [_both(first, second) for first, second, *_ in read]
    labels = [as_read(one) for one in read]
    found = {
        "ids": [sample.id for sample in samples],
        "windows": [(0, 0, *image.shape[:2]) for image in images],
        "frames": np.stack(images),
        "flow": np.stack([flow for flow, _ in labels]),
        "valid": np.stack([known for _, known in labels]),
        "flow_clip": None,
    }
    return dict(found, digest=digest(*found.values()))


def _both(first: Any, second: Any) -> Any:
    """Return both RGB images as uint8 (H, W, 6), BGR twice."""
    sizes = [tuple(image.shape[1:]) for image in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError("read() accepted images of %s and %s px" % (sizes[0], sizes[1]))
    images = [np.rint(channels_last(one)[..., ::-1]).astype(np.uint8) for one in (first, second)]
    return np.concatenate(images, axis=-1)


def as_images(frames: Any) -> tuple[Any, Any]:
    """Return both images of frames (B, H, W, 6), BGR, as float tensors (B, 3, H, W), RGB."""
    rgb = np.ascontiguousarray(np.asarray(frames)[..., ::-1])  # the second image comes first now
    second, first = channels_first(rgb).float().split(3, dim=1)
    return first, second


def channels_first(array: Any) -> Any:
    """Return (B, H, W, C) as a tensor (B, C, H, W)."""
    return torch.as_tensor(np.ascontiguousarray(np.moveaxis(np.array(array), -1, 1)))


def channels_last(value: Any) -> Any:
    """Return (..., C, H, W) as a float32 array (..., H, W, C)."""
    return np.ascontiguousarray(np.moveaxis(numbers(value).astype(np.float32), -3, -1))


def numbers(value: Any) -> Any:
    """Return a tensor or anything of numbers as an array."""
    return array_of(value) if torch.is_tensor(value) else np.asarray(value)


@contextlib.contextmanager
def modes_kept(parts: Iterable[Any]) -> Iterator[list[Any]]:
    """Give the modules among parts; set each back afterwards to training, or not, as it was.

    An evaluation that is asked for from outside begins and ends where the loop is held.
    """
    modules = [part for part in parts if isinstance(part, torch.nn.Module)]
    modes = [(one, one.training) for module in modules for one in module.modules()]
    try:
        yield modules
    finally:
        for one, training in modes:
            one.training = training
