"""The compiled functions that every node runs through, whatever the pool.

Each is traced once, for any kernel, width and crop. A pool of one and the whole space do the
same operations on the same inputs, in functions of more or of fewer of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from harness.supernet.network import GivenNorm, Norm, RecalNorm, resize_bilinear
from harness.supernet.sharing.runs import Part

__all__ = ["FLOW_CHANNELS", "Layers", "head_kernel"]

Tensor = Any
Stats = Sequence[tuple[Tensor, Tensor]]
FLOW_CHANNELS = 2
"""Scoring reads the flow; the log-variance of a head is not computed."""

HEAD_SIDE = 7
"""Largest kernel of a head that this walk can run, px."""

_COLUMNS = 4
_UNITS = {"layer": 1, "block": 2, "output": 0}
_NAMES = ("first", "second")
# Open shapes: a function is traced once for any kernel, width and crop.
_ANY = tf.TensorSpec([None, None, None, None], tf.float32)
_VECTOR = tf.TensorSpec([None], tf.float32)


class Layers:
    """Compiled runs of layers, blocks and heads; each is traced on first use."""

    def __init__(self) -> None:
        self._functions: dict[tuple[tuple[Part, ...], int], Callable[..., Any]] = {}

    def run(
        self, parts: tuple[Part, ...], inputs: Sequence[Tensor],
        weights: Sequence[Tensor], stats: Sequence[Tensor] | None, batches: int = 1,
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        """Run some nodes.

        Parameters
        ----------
        parts : tuple of Part
            What runs, in order.
        inputs : sequence of tensor
            Shape (B, h, w, channels) each, float32.
        weights : sequence of tensor
            Of each step in order: a kernel and, but for a head, gamma and beta; for a block
            two of these.
        stats : sequence of tensor or None
            Mean and variance of each unit in order; None to normalise by the batch's own.
        batches : int, default 1
            How many batches lie one after another, each with statistics of its own.

        Returns
        -------
        values : list of tensor
            Of the steps that return theirs, in order; of a head (options, 2, B, h, w), px.
        found : list of tensor
            Mean and variance of each unit in order, where they are the batch's own; with more
            than one batch (batches, channels) each.
        """
        # With given statistics no layer asks how samples fall into batches: one function for all.
        key = parts, batches if stats is None else 0
        if key not in self._functions:
            self._functions[key] = _compiled(parts, len(inputs), key[1])
        values, found = self._functions[key](*inputs, *weights, *(stats or ()))
        return values, found


def head_kernel(kernels: Sequence[Tensor]) -> Tensor:
    """Lay a head's kernels side by side, and four pixels of a row: (k, k + 3, in, 4 * options * 2).

    Every option is padded to :data:`HEAD_SIDE`, so that all are one convolution, and laid out
    four times, shifted by 0 to 3 columns, so that one step with a stride of four gives four
    neighbours. Convolutions of a few channels are slow, and the log-variances are not scored: 24
    channels instead of three times 4.

    Raises
    ------
    ValueError
        If a kernel is larger than that.
    """
    largest = max(int(kernel.shape[0]) for kernel in kernels)
    if largest > HEAD_SIDE:
        msg = f"a head's kernel of {largest} px: expected at most {HEAD_SIDE} px (HEAD_SIDE)"
        raise ValueError(msg)
    padded = []
    for kernel in kernels:
        # To the side that `_head` pads the input for: a smaller one would read other pixels.
        margin = (HEAD_SIDE - int(kernel.shape[0])) // 2
        flow = np.asarray(kernel)[..., :FLOW_CHANNELS]
        padded.append(np.pad(flow, ((margin, margin), (margin, margin), (0, 0), (0, 0))))
    beside = np.concatenate(padded, axis=-1)
    shifts = [(shift, _COLUMNS - 1 - shift) for shift in range(_COLUMNS)]
    shifted = [np.pad(beside, ((0, 0), shift, (0, 0), (0, 0))) for shift in shifts]
    return tf.constant(np.concatenate(shifted, axis=-1))


def _head(x: Tensor, kernel: Tensor) -> Tensor:
    """Return the flow of all options, (options, 2, B, h, w), by a :func:`head_kernel`."""
    margin, size = HEAD_SIDE // 2, tf.shape(x)
    y = tf.nn.conv2d(
        x, kernel, strides=[1, 1, _COLUMNS, 1],
        padding=[[0, 0], [margin, margin], [margin, margin + _COLUMNS - 1], [0, 0]],
    )  # fmt: skip
    y = tf.reshape(y, [size[0], size[1], -1, tf.shape(kernel)[3] // _COLUMNS])
    # Groups of four reach past the end of a row that four does not divide.
    planes = tf.transpose(y[:, :, : size[2]], [3, 0, 1, 2])
    return tf.reshape(planes, tf.concat([[-1, FLOW_CHANNELS], size[:3]], axis=0))


def _convolve(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    return tf.nn.conv2d(x, kernel, strides=stride, padding="SAME")


def _concrete(function: Callable[..., Any], signature: Sequence[Any]) -> Callable[..., Any]:
    """Compile at once; calling the trace itself saves a third of a millisecond a call.

    The function takes nothing beyond its signature: arguments that do not fit it are printed,
    values and all, before TensorFlow tries them another way.
    """
    traced = tf.function(function, autograph=False, input_signature=signature)
    return traced.get_concrete_function()  # type: ignore[no-any-return]


def _compiled(parts: Sequence[Part], inputs: int, batches: int) -> Callable[..., Any]:
    """Compile a run; 0 batches: statistics are given."""
    given = batches == 0
    units = [_UNITS[part.kind] for part in parts]

    def run(*arguments: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        rest = iter(arguments[inputs:])
        taken = [[next(rest) for _ in range(3 * count or 1)] for count in units]
        stats = [[(next(rest), next(rest)) for _ in range(count * given)] for count in units]
        values: list[Tensor] = []
        found: list[Tensor] = []
        for part, weights, pairs in zip(parts, taken, stats, strict=True):
            x = arguments[-1 - part.source] if part.source < 0 else values[part.source]
            y, own = _step(part, x, weights, pairs, batches)
            values.append(y)
            found += own
        returned = [y for y, part in zip(values, parts, strict=True) if part.returned]
        return returned, [] if given else found

    signature = [_ANY] * inputs
    for count in units:
        signature += [_ANY, _VECTOR, _VECTOR] * count or [_ANY]
    return _concrete(run, signature + [_VECTOR] * 2 * sum(units) * given)


def _step(
    part: Part, x: Tensor, weights: Sequence[Tensor], stats: Stats, batches: int
) -> tuple[Tensor, Sequence[Tensor]]:
    """Return a step's value, and mean and variance of each of its units."""
    if part.kind == "output":
        return _head(x, weights[0]), ()
    kernels, affine = weights[::3], dict[str, Tensor]()
    for index, unit in enumerate(_NAMES[: len(kernels)]):
        affine[f"{unit}/gamma"], affine[f"{unit}/beta"] = weights[3 * index + 1 : 3 * index + 3]
    norm: Norm = (
        RecalNorm(affine, batches)
        if batches
        else GivenNorm(affine, dict(zip(_NAMES, stats, strict=False)))
    )
    if part.kind == "block":
        return _block(norm, x, kernels)
    return _layer(norm, x, kernels[0], part.stride, part.upsample)


def _layer(
    norm: Norm, x: Tensor, kernel: Tensor, stride: int, upsample: bool
) -> tuple[Tensor, Sequence[Tensor]]:
    if upsample:
        x = resize_bilinear(x, 2 * tf.shape(x)[1:3])
    y, found = norm("first", _convolve(x, kernel, stride))
    return tf.nn.relu(y), found


def _block(norm: Norm, x: Tensor, kernels: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
    y, first = norm("first", _convolve(x, kernels[0]))
    y, second = norm("second", _convolve(tf.nn.relu(y), kernels[1]))
    return tf.nn.relu(y + x), (*first, *second)
