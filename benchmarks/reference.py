"""EdgeFlowNAS's strategy, as a reference to be measured against.

One arch after another; all branches of every choice, weighed by a one-hot of the code; a
recalibration batch runs the whole forward pass, heads included, with the fused kernel in
training mode; and every batch is read and decoded again for every arch. One graph function
for each of the two modes, compiled once, for the ``full`` skeleton.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness.evaluation.recalibration import pool_statistics
from harness.fc2.batch import Batch
from harness.supernet.epe import mean_epe
from harness.supernet.loss import accumulate_flow
from harness.supernet.network import BN_EPSILON, frames_to_input, resize_bilinear
from harness.supernet.space import NUM_OPTIONS, SKELETONS, Stage, depth_chain, norm_units

__all__ = ["Reference"]

Tensor = Any
Weights = Mapping[str, Tensor]
Reader = Callable[[], Sequence[Batch]]


@dataclass
class _Norm:
    """Normalise by the batch (and keep what it was), or by given statistics."""

    weights: Weights
    stats: Mapping[str, Any] | None
    found: dict[str, Any]

    def __call__(self, unit: str, x: Tensor) -> Tensor:
        empty = tf.constant([], tf.float32)
        mean, variance = (empty, empty) if self.stats is None else self.stats[unit]
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=self.weights[f"{unit}/gamma"], offset=self.weights[f"{unit}/beta"],
            mean=mean, variance=variance, epsilon=BN_EPSILON, is_training=self.stats is None,
        )  # fmt: skip
        count = tf.cast(tf.size(x) / tf.shape(x)[-1], tf.float32)
        self.found[unit] = mean, variance * (count - 1) / count
        return y


def _convolve(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    return tf.nn.conv2d(x, kernel, strides=stride, padding="SAME")


class Reference:
    """Dense evaluation of one arch at a time."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._plan, self._weights = SKELETONS["full"], dict(weights)
        names = norm_units(self._plan)
        vector = tf.TensorSpec([None], tf.float32)
        arch, frames = tf.TensorSpec([9], tf.int32), tf.TensorSpec([None] * 3 + [6], tf.uint8)
        specs = {name: tf.TensorSpec(w.shape, tf.float32) for name, w in self._weights.items()}
        self._recal = tf.function(
            self._recal_pass, autograph=False, input_signature=[specs, arch, frames]
        )
        self._predict = tf.function(
            self._predict_pass, autograph=False,
            input_signature=[specs, dict.fromkeys(names, (vector, vector)), arch, frames],
        )  # fmt: skip

    def _recal_pass(self, weights: Weights, arch: Tensor, frames: Tensor) -> Any:
        return self._forward(weights, None, arch, frames)

    def _predict_pass(
        self, weights: Weights, stats: Mapping[str, Any], arch: Tensor, frames: Tensor
    ) -> Any:
        return accumulate_flow(self._forward(weights, stats, arch, frames)[0])

    def _forward(
        self, weights: Weights, stats: Mapping[str, Any] | None, arch: Tensor, frames: Tensor
    ) -> tuple[list[Tensor], dict[str, Any]]:
        norm = _Norm(weights, stats, {})
        values = {"input": frames_to_input(frames)}
        for stage in self._plan.stages:
            x = values[stage.source]
            if stage.upsample:
                x = resize_bilinear(x, 2 * tf.shape(x)[1:3])
            values[stage.name] = self._stage(stage, weights, arch, x, norm)
        return [values[stage.name] for stage in self._plan.outputs], norm.found

    def _stage(
        self, stage: Stage, weights: Weights, arch: Tensor, x: Tensor, norm: _Norm
    ) -> Tensor:
        if stage.choice is None:
            y = _convolve(x, weights[f"{stage.name}/kernel"], stage.stride)
            return tf.nn.relu(norm(stage.name, y))
        chosen = tf.one_hot(arch[self._plan.code_index(stage)], NUM_OPTIONS)
        branches = []
        if stage.choice == "depth":
            for block in depth_chain(self._plan, stage, NUM_OPTIONS - 1):
                y = norm(f"{block}/conv1", _convolve(x, weights[f"{block}/conv1/kernel"]))
                y = _convolve(tf.nn.relu(y), weights[f"{block}/conv2/kernel"])
                x = tf.nn.relu(norm(f"{block}/conv2", y) + x)
                branches.append(x)
        else:
            names = [f"{stage.name}/k{k}/kernel" for k in self._plan.kernels]
            branches = [_convolve(x, weights[name]) for name in names]
        y = tf.add_n([branch * chosen[option] for option, branch in enumerate(branches)])
        return tf.nn.relu(norm(stage.name, y)) if stage.norm and stage.choice == "kernel" else y

    def recalibrate(self, arch: Sequence[int], batches: Sequence[Batch]) -> dict[str, Any]:
        """Return the population statistics of every unit."""
        code, found = tf.constant(list(arch), tf.int32), []
        for batch in batches:
            _, stats = self._recal(self._weights, code, tf.constant(batch.frames))
            found.append({u: (m.numpy(), v.numpy()) for u, (m, v) in stats.items()})
        return pool_statistics(found, [batch.size for batch in batches])

    def predict(
        self, arch: Sequence[int], stats: Mapping[str, Any], batch: Batch
    ) -> NDArray[np.float32]:
        """Return the accumulated flow, (B, H, W, 2), px."""
        code = tf.constant(list(arch), tf.int32)
        return self._predict(self._weights, stats, code, tf.constant(batch.frames)).numpy()

    def evaluate(
        self, pool: Sequence[Sequence[int]], read_recal: Reader, read_eval: Reader
    ) -> list[float]:
        """Return each arch's EPE, px; both readers are called for every arch."""
        scores = []
        for arch in pool:
            stats = self.recalibrate(arch, read_recal())
            samples: list[float] = []
            for batch in read_eval():
                flow = self.predict(arch, stats, batch)
                distance = np.linalg.norm(flow - batch.flow, axis=-1)
                samples += [float(d[v].mean()) for d, v in zip(distance, batch.valid, strict=True)]
            scores.append(mean_epe(samples))
        return scores
