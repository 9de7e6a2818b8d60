"""Evaluation is a function: (weights, arch, batches) -> scores. It changes nothing."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness.evaluation.recalibration import PooledStatistics, Statistics, pool_statistics
from harness.evidence.digest import digest_arrays
from harness.evidence.records import EvalRecord
from harness.fc2.batch import Batch, join_digests
from harness.supernet.epe import mean_epe, sample_epe
from harness.supernet.loss import accumulate_flow
from harness.supernet.network import GivenNorm, RecalNorm, forward, frames_to_input
from harness.supernet.space import (
    SKELETONS,
    active_units,
    check_arch,
    format_arch,
    norm_units,
    variable_shapes,
)

__all__ = ["EvalParts", "Evaluator", "NonFiniteScoreError", "Protocol"]

Tensor = Any
Weights = Mapping[str, Tensor]


class NonFiniteScoreError(FloatingPointError):
    """A recalibrated statistic or a score is NaN or infinite; names arch and place."""


@dataclass(frozen=True)
class EvalParts:
    """The functions that an evaluation is put together from."""

    frames_to_input: Callable[[Tensor], Tensor] = frames_to_input
    pool_statistics: Callable[[Sequence[Statistics], Sequence[int]], PooledStatistics] = (
        pool_statistics
    )
    accumulate_flow: Callable[[Sequence[Tensor]], Tensor] = accumulate_flow
    epe: Callable[..., NDArray[np.float64]] = sample_epe
    mean: Callable[[Sequence[float]], float] = mean_epe


@dataclass(frozen=True)
class Protocol:
    """What is scored on what.

    Attributes
    ----------
    pool : tuple of arch code
        Archs, in order.
    eval_batches, recal_batches : tuple of Batch
        Decoded once, used for every arch.
    batches_asked : int or "full"
        As configured; the split may end earlier.
    """

    pool: tuple[tuple[int, ...], ...]
    eval_batches: tuple[Batch, ...]
    recal_batches: tuple[Batch, ...]
    batches_asked: int | str


class Evaluator:
    """Compiled recalibration and prediction for one skeleton and width.

    Training and standalone evaluation use the same object's functions.
    """

    def __init__(self, skeleton: str, width: int, parts: EvalParts | None = None) -> None:
        self.skeleton, self.parts = skeleton, parts or EvalParts()
        shapes = variable_shapes(SKELETONS[skeleton], width)
        spec = tf.TensorSpec
        weights = {name: spec(shape, tf.float32) for name, shape in shapes.items()}
        pairs = {
            unit: (spec(shapes[f"{unit}/gamma"], tf.float32),) * 2
            for unit in norm_units(SKELETONS[skeleton])
        }
        arch, frames = spec([9], tf.int32), spec([None, None, None, 6], tf.uint8)
        self._inactive = {
            unit: (np.zeros(pair[0].shape, np.float32), np.ones(pair[0].shape, np.float32))
            for unit, pair in pairs.items()
        }
        self._recal = tf.function(
            self._recal_pass, autograph=False, input_signature=[weights, arch, frames]
        )
        signature = [weights, pairs, arch, frames]
        self._predict = tf.function(self._predict_pass, autograph=False, input_signature=signature)
        self._outputs = tf.function(self._outputs_pass, autograph=False, input_signature=signature)

    def _recal_pass(self, weights: Weights, arch: Tensor, frames: Tensor) -> Any:
        x = self.parts.frames_to_input(frames)
        return forward(self.skeleton, weights, arch, x, RecalNorm(weights))[1]

    def _predict_pass(
        self, weights: Weights, stats: Mapping[str, Any], arch: Tensor, frames: Tensor
    ) -> Tensor:
        return self.parts.accumulate_flow(self._outputs_pass(weights, stats, arch, frames))

    def _outputs_pass(
        self, weights: Weights, stats: Mapping[str, Any], arch: Tensor, frames: Tensor
    ) -> Any:
        x = self.parts.frames_to_input(frames)
        return forward(self.skeleton, weights, arch, x, GivenNorm(weights, stats))[0]

    def recalibrate(
        self, weights: Weights, arch: Sequence[int], batches: Sequence[Batch]
    ) -> PooledStatistics:
        """Return the population statistics of the units that run for `arch`.

        Raises
        ------
        NonFiniteScoreError
            If a statistic is not finite.
        """
        code = check_arch(arch)
        units = active_units(SKELETONS[self.skeleton], code)
        per_batch = []
        for batch in batches:
            found = self._recal(weights, tf.constant(code, tf.int32), tf.constant(batch.frames))
            per_batch.append({u: (found[u][0].numpy(), found[u][1].numpy()) for u in units})
        pooled = self.parts.pool_statistics(per_batch, [batch.size for batch in batches])
        for unit, pair in pooled.items():
            if not all(np.isfinite(values).all() for values in pair):
                msg = f"arch {format_arch(code)}: recalibrated statistics of {unit} are not finite"
                raise NonFiniteScoreError(msg)
        return pooled

    def predict(
        self, weights: Weights, arch: Sequence[int], stats: PooledStatistics, batch: Batch
    ) -> NDArray[np.float32]:
        """Return the accumulated full-scale flow, (B, H, W, 2), float32, px."""
        code = tf.constant(check_arch(arch), tf.int32)
        flow = self._predict(weights, self._complete(stats), code, tf.constant(batch.frames))
        return np.asarray(flow.numpy(), np.float32)

    def outputs(
        self,
        weights: Weights,
        arch: Sequence[int],
        stats: PooledStatistics,
        frames: NDArray[np.uint8],
    ) -> tuple[NDArray[np.float32], ...]:
        """Return the three residual outputs, coarse to fine, for uint8 frames."""
        code = tf.constant(check_arch(arch), tf.int32)
        outputs = self._outputs(weights, self._complete(stats), code, tf.constant(frames))
        return tuple(np.asarray(output.numpy(), np.float32) for output in outputs)

    def _complete(self, stats: PooledStatistics) -> PooledStatistics:
        """Add placeholders for units that do not run; the graph wants a value for each."""
        return {unit: stats.get(unit, pair) for unit, pair in self._inactive.items()}

    def evaluate(
        self, weights: Weights, protocol: Protocol, *, epoch: int = 0,
        between: Callable[[], None] | None = None,
    ) -> tuple[EvalRecord, dict[str, list[float]]]:  # fmt: skip
        """Score a pool.

        Parameters
        ----------
        between : callable, optional
            Called before each arch; what it raises ends the evaluation, which leaves nothing.

        Returns
        -------
        record : EvalRecord
            Scores, digests and timings.
        per_sample : dict
            Arch to its per-sample EPE, px, in batch order.
        """
        parts, batches = self.parts, protocol.eval_batches
        per_sample: dict[str, list[float]] = {}
        per_arch: list[float] = []
        all_stats: dict[str, NDArray[Any]] = {}
        seconds = [0.0, 0.0]
        for arch in protocol.pool:
            if between is not None:
                between()
            name, start = format_arch(arch), time.perf_counter()
            stats = self.recalibrate(weights, arch, protocol.recal_batches)
            middle = time.perf_counter()
            samples: list[float] = []
            for batch in batches:
                flow = self.predict(weights, arch, stats, batch)
                samples += parts.epe(flow, batch.flow, batch.valid).tolist()
            per_sample[name] = samples
            per_arch.append(_finite(parts.mean(samples), name))
            seconds[0] += middle - start
            seconds[1] += time.perf_counter() - middle
            for unit, (mean, variance) in stats.items():
                all_stats |= {f"{name}/{unit}/mean": mean, f"{name}/{unit}/variance": variance}
        record = EvalRecord(
            archs=tuple(per_sample),
            per_arch_epe=tuple(per_arch),
            mean_epe=parts.mean(per_arch),
            std_epe=statistics.pstdev(per_arch),
            zero_flow_epe=parts.mean(_zero_flow(parts, batches)),
            samples=sum(batch.size for batch in batches),
            batches=len(batches),
            batches_asked=protocol.batches_asked,
            recal_batches=len(protocol.recal_batches),
            eval_batch_hash=join_digests(batches),
            bn_recal_batch_hash=join_digests(protocol.recal_batches),
            stats_digest=digest_arrays(all_stats),
            weights_digest=digest_arrays({n: np.asarray(w) for n, w in weights.items()}),
            flow_clip=batches[0].flow_clip,
            eval_seconds=seconds[1],
            bn_recal_seconds=seconds[0],
            unknown_pixels=sum(batch.unknown_pixels for batch in batches),
            epoch=epoch,
        )
        return record, per_sample


def _zero_flow(parts: EvalParts, batches: Sequence[Batch]) -> list[float]:
    return [
        float(value)
        for batch in batches
        for value in parts.epe(np.zeros_like(batch.flow), batch.flow, batch.valid)
    ]


def _finite(value: float, arch: str) -> float:
    if not np.isfinite(value):
        msg = f"arch {arch}: EPE is {value}, expected a finite number"
        raise NonFiniteScoreError(msg)
    return value
