"""EdgeFlowNAS's strategy, as a reference to be measured against.

One arch after another; all branches of every choice, weighed by a one-hot of the code; a
recalibration batch runs the whole forward pass, heads included, with the fused kernel in
training mode; and every batch is read and decoded again for every arch. One graph function
for each of the two modes, compiled once, for the ``full`` skeleton.

What is scored decides what is computed. Up to 902a0e1 EdgeFlowNAS scores the last residual, so that
its session prunes the heads of the other two; later it scores the accumulated flow.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.dense import forward_dense, stages_before
from benchmarks.plain_reader import Plain
from harness.evaluation.recalibration import pool_statistics
from harness.supernet.epe import mean_epe
from harness.supernet.loss import accumulate_flow
from harness.supernet.network import BN_EPSILON, GivenNorm, frames_to_input
from harness.supernet.space import SKELETONS, norm_units

__all__ = ["Reference"]

Tensor = Any
Weights = Mapping[str, Tensor]
Reader = Callable[[], Sequence[Plain]]


class _Fused:
    """Normalise by the batch with the fused kernel, and report what the batch's was."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def __call__(self, unit: str, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the normalised tensor, mean and variance (divided by N)."""
        empty = tf.constant([], tf.float32)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=self._weights[f"{unit}/gamma"], offset=self._weights[f"{unit}/beta"],
            mean=empty, variance=empty, epsilon=BN_EPSILON, is_training=True,
        )  # fmt: skip
        count = tf.cast(tf.size(x) / tf.shape(x)[-1], tf.float32)
        return y, (mean, variance * (count - 1) / count)


class Reference:
    """Dense evaluation of one arch at a time.

    Parameters
    ----------
    weights : mapping of str to tensor
        Kernels, gammas and betas by name, of the ``full`` skeleton.
    scored : {"last", "accumulated"}, default "last"
        Whether the last residual is scored, and nothing computed for the others, or their sum.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], scored: Literal["last", "accumulated"] = "last"
    ) -> None:
        self._weights, self._last = dict(weights), scored == "last"
        plan = SKELETONS["full"]
        names = stages_before(plan, plan.outputs[-1]) if self._last else None
        # A unit lies in a stage, or is the convolution of a block of one: EB0/deep1/conv1.
        self._units = [
            unit for unit in norm_units(plan) if names is None or unit.split("/")[0] in names
        ]
        vector = tf.TensorSpec([None], tf.float32)
        arch, frames = tf.TensorSpec([9], tf.int32), tf.TensorSpec([None] * 3 + [6], tf.float32)
        specs = {name: tf.TensorSpec(w.shape, tf.float32) for name, w in self._weights.items()}
        self._recal = tf.function(
            self._recal_pass, autograph=False, input_signature=[specs, arch, frames]
        )
        self._predict = tf.function(
            self._predict_pass, autograph=False,
            input_signature=[specs, dict.fromkeys(self._units, (vector, vector)), arch, frames],
        )  # fmt: skip

    def _recal_pass(self, weights: Weights, arch: Tensor, frames: Tensor) -> Any:
        x = frames_to_input(frames)
        outputs, stats = forward_dense("full", weights, arch, x, _Fused(weights))
        # TensorFlow leaves out what leads to nothing that is returned.
        return outputs[-1:] if self._last else outputs, {unit: stats[unit] for unit in self._units}

    def _predict_pass(
        self, weights: Weights, stats: Mapping[str, Any], arch: Tensor, frames: Tensor
    ) -> Any:
        gammas = {unit: weights[f"{unit}/gamma"] for unit in norm_units(SKELETONS["full"])}
        # What leads to nothing that is returned wants a value and does not run.
        norm = GivenNorm(weights, {**{u: (g, g) for u, g in gammas.items()}, **stats})
        outputs, _ = forward_dense("full", weights, arch, frames_to_input(frames), norm)
        return outputs[-1][..., :2] if self._last else accumulate_flow(outputs)

    def initial_statistics(self) -> dict[str, Any]:
        """Return moving statistics as they are before anything moved them, mean 0, variance 1."""
        sizes = {unit: self._weights[f"{unit}/gamma"].shape for unit in self._units}
        return {unit: (np.zeros(n, "f4"), np.ones(n, "f4")) for unit, n in sizes.items()}

    def recalibrate(self, arch: Sequence[int], batches: Sequence[Plain]) -> dict[str, Any]:
        """Return the population statistics of every unit."""
        code, found = tf.constant(list(arch), tf.int32), []
        for batch in batches:
            _, stats = self._recal(self._weights, code, tf.constant(batch.frames))
            found.append({u: (m.numpy(), v.numpy()) for u, (m, v) in stats.items()})
        return pool_statistics(found, [batch.size for batch in batches])

    def predict(
        self, arch: Sequence[int], stats: Mapping[str, Any], batch: Plain
    ) -> NDArray[np.float32]:
        """Return the flow that is scored, (B, H, W, 2), px."""
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
                distance = np.linalg.norm(self.predict(arch, stats, batch) - batch.flow, axis=-1)
                samples += distance.mean(axis=(1, 2), dtype=np.float64).tolist()
            scores.append(mean_epe(samples))
        return scores
