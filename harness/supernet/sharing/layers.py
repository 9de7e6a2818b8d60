"""The compiled functions that every node runs through, whatever the pool.

Each is traced once, for any kernel, width and crop: a pool of one and the whole space run
the same functions on the same inputs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from harness.supernet.network import GivenNorm, Norm, RecalNorm, resize_bilinear
from harness.supernet.sharing.plan import Node

__all__ = ["FLOW_CHANNELS", "Layers", "head_kernel"]

Tensor = Any
Weights = Mapping[str, Tensor]
Stats = Sequence[tuple[Tensor, Tensor]]
FLOW_CHANNELS = 2
"""Scoring reads the flow; the log-variance of a head is not computed."""

_ANY = tf.TensorSpec([None, None, None, None], tf.float32)
_VECTOR = tf.TensorSpec([None], tf.float32)


class Layers:
    """Compiled layers, blocks and heads; traced on first use."""

    def __init__(self) -> None:
        self._functions: dict[tuple[str, int, bool, bool, bool], Callable[..., Any]] = {}
        self._head = _concrete(lambda x, kernel: _convolve(x, kernel), [_ANY, _ANY])

    def normalised(
        self, node: Node, weights: Weights, x: Tensor, stats: Stats | None, needed: bool = True
    ) -> tuple[Tensor, Stats]:
        """Run a layer or block.

        Parameters
        ----------
        node : Node
            Of kind ``layer`` or ``block``.
        x : tensor
            Shape (B, h, w, channels).
        stats : sequence of (mean, variance) or None
            Of each of its units; None to normalise by the batch's own.
        needed : bool, default True
            Whether the value of a layer is needed beside its own statistics.

        Returns
        -------
        y : tensor
            The node's value; an empty one where it is not needed.
        found : sequence of (mean, variance)
            Of each of its units, (channels,) each: the batch's own, or `stats`.
        """
        arguments = [x]
        for kernel, unit in zip(node.kernels, node.units, strict=True):
            arguments += [weights[kernel], weights[f"{unit}/gamma"], weights[f"{unit}/beta"]]
        if stats is None:
            y, *flat = self._function(node, False, needed)(*arguments)
            return y, list(zip(flat[::2], flat[1::2], strict=True))
        for pair in stats:
            arguments += pair
        return self._function(node, True, True)(*arguments), stats

    def head(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Return the flow of all options of a head, (B, h, w, options * 2), in px."""
        return self._head(x, kernel)

    def _function(self, node: Node, given: bool, needed: bool) -> Callable[..., Any]:
        stage = node.stage
        plain = node.kind == "layer"
        key = (node.kind, stage.stride if plain else 1, stage.upsample and plain, given, needed)
        if key not in self._functions:
            self._functions[key] = _compiled(*key)
        return self._functions[key]


def head_kernel(kernels: Sequence[Tensor]) -> Tensor:
    """Lay a head's kernels side by side, padded to the largest, (k, k, in, options * 2).

    One convolution of 6 channels instead of three of 4, of which 2 are not scored.
    """
    side = max(int(kernel.shape[0]) for kernel in kernels)
    padded = []
    for kernel in kernels:
        margin = (side - int(kernel.shape[0])) // 2
        flow = np.asarray(kernel)[..., :FLOW_CHANNELS]
        padded.append(np.pad(flow, ((margin, margin), (margin, margin), (0, 0), (0, 0))))
    return tf.constant(np.concatenate(padded, axis=-1))


def _convolve(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    return tf.nn.conv2d(x, kernel, strides=stride, padding="SAME")


def _concrete(function: Callable[..., Any], signature: Sequence[Any]) -> Callable[..., Any]:
    """Compile at once; calling the trace itself saves a third of a millisecond a call.

    The function takes nothing beyond its signature: arguments that do not fit it are printed,
    values and all, before TensorFlow tries them another way.
    """
    traced = tf.function(function, autograph=False, input_signature=signature)
    return traced.get_concrete_function()  # type: ignore[no-any-return]


def _compiled(
    kind: str, stride: int, upsample: bool, given: bool, needed: bool
) -> Callable[..., Any]:
    units = ("first", "second") if kind == "block" else ("first",)

    def run(x: Tensor, *flat: Tensor) -> Any:
        kernels, weights, stats = flat[: 3 * len(units) : 3], {}, flat[3 * len(units) :]
        for index, unit in enumerate(units):
            weights[f"{unit}/gamma"], weights[f"{unit}/beta"] = flat[3 * index + 1 : 3 * index + 3]
        pairs = zip(stats[::2], stats[1::2], strict=True)
        norm: Norm = (
            GivenNorm(weights, dict(zip(units, pairs, strict=True)))
            if given
            else RecalNorm(weights)
        )
        if kind == "block":
            y, found = _block(norm, x, kernels)
        else:
            y, found = _layer(norm, x, kernels[0], stride, upsample)
        if not needed:
            y = tf.constant([], tf.float32)  # what made it is pruned from the graph
        return y if given else (y, *found)

    signature = [_ANY, *[_ANY, _VECTOR, _VECTOR] * len(units)]
    return _concrete(run, signature + [_VECTOR] * 2 * len(units) * given)


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
