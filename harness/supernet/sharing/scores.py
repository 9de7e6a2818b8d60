"""The end-point error of many archs at once, where their outputs are: on the device.

Each operation here treats archs, samples and pixels apart, or lays parts of one sample's pixels
upon each other in an order that follows from their number alone. A reduction would choose its order
by the shape of all that it is given, and an arch would score otherwise among others than alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness.supernet.network import resize_bilinear
from harness.supernet.sharing.plan import plan_of

__all__ = ["PIXEL_BYTES", "Labels", "Picks", "Scoring", "picks_of"]

Tensor = Any
Arch = Sequence[int]

PIXEL_BYTES = 48
"""Most bytes that a scored pixel of one arch takes at once: its flow, the sums and temporaries."""

_PARTS = 8


@dataclass(frozen=True)
class Labels:
    """What a piece of samples is scored against, on the device.

    Attributes
    ----------
    flow : tensor
        Shape (2, B, H, W), float32, px.
    valid : tensor
        Shape (B, H, W), bool.
    counts : tensor
        Shape (B,), float64: valid pixels of each sample, at least 1.
    """

    flow: Tensor
    valid: Tensor
    counts: Tensor

    @classmethod
    def of(cls, flow: NDArray[np.float32], valid: NDArray[np.bool_], samples: int) -> "Labels":
        """Lay labels (B, H, W, 2) and their mask out, filled up to `samples`.

        A sample that fills up has no valid pixel, and the score 0.

        Raises
        ------
        ValueError
            If a sample has no valid pixel.
        """
        counts = valid.reshape(len(valid), -1).sum(axis=1)
        if not counts.all():
            msg = f"sample {int(np.argmin(counts))} of the batch has no valid pixel"
            raise ValueError(msg)
        more = samples - len(valid)
        planes = np.pad(flow.transpose(3, 0, 1, 2), ((0, 0), (0, more), (0, 0), (0, 0)))
        return cls(
            tf.constant(planes, tf.float32),
            tf.constant(np.pad(valid, ((0, more), (0, 0), (0, 0)))),
            tf.constant(np.pad(counts, (0, more), constant_values=1), tf.float64),
        )


@dataclass(frozen=True)
class Picks:
    """Which outputs the archs of a subtree sum up.

    Attributes
    ----------
    firsts : tuple of tuple of int
        For each output, coarse to fine, the first arch with each of its values, by its number.
    uses : tuple of tuple of int
        How many computations take each of these values, as a schedule counts them.
    coarse : ndarray
        Shape (partials, outputs - 1), int32: where in the values of each coarser output, all
        options of each side by side, a sum over them has its terms.
    fine : ndarray
        Shape (archs, 2), int32: which of these sums, and where in the values of the finest.
    """

    firsts: tuple[tuple[int, ...], ...]
    uses: tuple[tuple[int, ...], ...]
    coarse: NDArray[np.int32]
    fine: NDArray[np.int32]


@lru_cache(maxsize=64)
def picks_of(skeleton: str, archs: tuple[Arch, ...]) -> Picks:
    """Return the picks of archs that agree in every depth choice.

    Ask for the codes of the depth choices as 0: what is picked does not depend on them.
    """
    plan = plan_of(skeleton)
    options = np.asarray(archs, np.int32)
    places, firsts = [], []
    for node in plan.outputs:
        numbers: dict[Any, int] = {}
        owner = [numbers.setdefault(node.key(arch), len(numbers)) for arch in archs]
        first = [owner.index(number) for number in range(len(numbers))]
        own = options[:, plan.skeleton.code_index(node.stage)]
        places.append(np.asarray(owner, np.int32) * len(node.kernels) + own)
        firsts.append(tuple(first))
    before = np.stack(places[:-1], axis=1)
    coarse, inverse = _distinct_rows(before)
    kernels = [len(node.kernels) for node in plan.outputs]
    taken = [*coarse.T, places[-1]]
    uses = tuple(
        tuple(int(n) for n in np.bincount(place // count, minlength=len(first)))
        for place, count, first in zip(taken, kernels, firsts, strict=True)
    )
    fine = np.stack([inverse, places[-1]], axis=1).astype(np.int32)
    return Picks(tuple(firsts), uses, coarse.astype(np.int32), fine)


def _distinct_rows(rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the distinct rows as they first appear, and which of them each row is."""
    numbers: dict[tuple[int, ...], int] = {}
    owner = [numbers.setdefault(tuple(row), len(numbers)) for row in rows.tolist()]
    return np.asarray(list(numbers), np.int32), np.asarray(owner, np.int64)


class Scoring:
    """Compiled scoring, traced once for each crop and number of samples.

    Parameters
    ----------
    budget : int
        Bytes that scoring may take beside the outputs: archs beyond it are scored in another
        call, with the same bits.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._functions: dict[tuple[tuple[int, ...], ...], Callable[..., Tensor]] = {}

    def __call__(self, outputs: Sequence[Tensor], picks: Picks, labels: Labels) -> list[Tensor]:
        """Return the end-point error of each arch and sample, (archs, B), float64, px, in parts.

        Parameters
        ----------
        outputs : sequence of tensor
            Shape (values, 2, B, h, w) each, float32, px; coarse to fine.
        """
        shapes = tuple(tuple(output.shape[1:]) for output in outputs)
        if shapes not in self._functions:
            self._functions[shapes] = _compiled(shapes)
        found = []
        pixels = int(np.prod(labels.valid.shape))
        step = max(1, self._budget // (PIXEL_BYTES * pixels))
        for start in range(0, len(picks.fine), step):
            fine = picks.fine[start : start + step]
            # Sums that only other parts take are not made: those of a part are neighbours.
            low, high = int(fine[:, 0].min()), int(fine[:, 0].max()) + 1
            found.append(
                self._functions[shapes](
                    *outputs, tf.constant(picks.coarse[low:high]),
                    tf.constant(fine - np.asarray([low, 0], np.int32)),
                    labels.flow, labels.valid, labels.counts,
                )
            )  # fmt: skip
        return found


def _compiled(shapes: Sequence[tuple[int, ...]]) -> Callable[..., Tensor]:
    def score(*arguments: Tensor) -> Tensor:
        *outputs, coarse, fine, label, valid, counts = arguments
        total: Any = None
        for index, planes in enumerate(outputs[:-1]):
            chosen = tf.gather(planes, coarse[:, index])
            total = _doubled(chosen if total is None else total + chosen, shapes[index + 1])
        flow = tf.gather(total, fine[:, 0]) + tf.gather(outputs[-1], fine[:, 1])
        difference = flow - label
        squares = difference * difference
        distance = tf.sqrt(squares[:, 0] + squares[:, 1])
        # Chosen, not multiplied: 0 * NaN is NaN, and what is not valid may be anything.
        exact = tf.where(valid, tf.cast(distance, tf.float64), tf.constant(0.0, tf.float64))
        return _summed(exact) / counts

    channels, samples, height, width = shapes[-1]
    signature = [tf.TensorSpec([None, *shape], tf.float32) for shape in shapes]
    signature += [
        tf.TensorSpec([None, len(shapes) - 1], tf.int32), tf.TensorSpec([None, 2], tf.int32),
        tf.TensorSpec([channels, samples, height, width], tf.float32),
        tf.TensorSpec([samples, height, width], tf.bool), tf.TensorSpec([samples], tf.float64),
    ]  # fmt: skip
    traced = tf.function(score, autograph=False, input_signature=signature)
    return traced.get_concrete_function()  # type: ignore[no-any-return]


def _doubled(planes: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize (n, 2, B, h, w) to twice height and width, with a last shape of `shape`."""
    height, width = planes.shape[-2:]
    images = tf.reshape(planes, [-1, height, width, 1])
    return tf.reshape(resize_bilinear(images, shape[-2:]), [-1, *shape])


def _summed(values: Tensor) -> Tensor:
    """Sum (archs, B, H, W) over the pixels of each sample: eighths upon each other, repeatedly.

    Each sum of eight is one operation on whole eighths, whose order is written down here.
    """
    _, samples, height, width = values.shape
    pixels = height * width
    values = tf.reshape(values, [-1, samples, pixels])
    while pixels > 1:
        eighth = -(-pixels // _PARTS)
        # What eight does not divide is filled up with zeros.
        whole = tf.pad(values, [[0, 0], [0, 0], [0, _PARTS * eighth - pixels]])
        values, pixels = tf.add_n(tf.split(whole, _PARTS, axis=-1)), eighth
    return values[..., 0]
