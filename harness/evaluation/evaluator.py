"""Evaluation is a function: (weights, arch, batches) -> scores. It changes nothing."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness.digest import digest_arrays
from harness.errors import InputError
from harness.evaluation import scoring
from harness.evaluation.on_device import device_scores, scoring_bytes
from harness.evaluation.protocol import EvalParts, Protocol
from harness.evaluation.recalibration import (
    NonFiniteScoreError,
    PooledStatistics,
    stats_digest,
)
from harness.evaluation.scoring import score_pieces, scored_on
from harness.evaluation.shared import Journal, Shared
from harness.fc2.batch import Batch, join_digests
from harness.records.records import EvalRecord
from harness.supernet.epe import sample_epe
from harness.supernet.loss import accumulate_flow
from harness.supernet.network import GivenNorm, forward
from harness.supernet.sharing.layers import Layers
from harness.supernet.sharing.order import Subtree
from harness.supernet.sharing.scores import Scoring
from harness.supernet.sharing.walk import Model
from harness.supernet.space import (
    SKELETONS,
    check_arch,
    format_arch,
    norm_units,
    variable_shapes,
)

__all__ = ["EvalParts", "Evaluator", "Look", "NonFiniteScoreError", "Protocol", "Taken"]

Tensor = Any
Weights = Mapping[str, Tensor]
Taken = Callable[[str, Batch], None]
"""Receives an arch's code, or nothing for recalibration, and a batch that was computed on."""
Arch = tuple[int, ...]
Look = Callable[[EvalRecord, Mapping[str, list[float]], Mapping[Arch, PooledStatistics]], None]
"""Receives what an evaluation came to: record, per-sample EPE by arch, statistics by arch."""


class Evaluator:
    """Compiled recalibration and prediction for one skeleton and width.

    Training and standalone evaluation use the same object's functions, and an arch alone is
    a pool of one: archs that are scored together share every value whose inputs agree.

    Attributes
    ----------
    scored_on : {"host", "device"}
        Where scores are summed up: one arch after another in NumPy, or many in a call where their
        outputs are. By default on a GPU if TensorFlow uses one.
    """

    def __init__(self, skeleton: str, width: int, parts: EvalParts | None = None) -> None:
        self.skeleton, self.parts = skeleton, parts or EvalParts()
        self.scored_on = scored_on("auto", "gpu" if tf.config.get_visible_devices("GPU") else "cpu")
        shapes = variable_shapes(SKELETONS[skeleton], width)
        spec = tf.TensorSpec
        weights = {name: spec(shape, tf.float32) for name, shape in shapes.items()}
        pairs = {
            unit: (spec(shapes[f"{unit}/gamma"], tf.float32),) * 2
            for unit in norm_units(SKELETONS[skeleton])
        }
        # An arch is a tensor: as Python values, each would be traced anew, 0.5 s and more.
        arch, frames = spec([9], tf.int32), spec([None, None, None, 6], tf.uint8)
        self._inactive = {
            unit: (np.zeros(pair[0].shape, np.float32), np.ones(pair[0].shape, np.float32))
            for unit, pair in pairs.items()
        }
        self._layers, self._scoring = Layers(), Scoring(scoring_bytes())
        # One for all evaluations: TensorFlow keeps something of every thread that it ever met.
        self._ahead = ThreadPoolExecutor(1, "ahead")
        signature = [weights, pairs, arch, frames]
        self._input = tf.function(
            self.parts.frames_to_input, autograph=False, input_signature=[frames]
        )
        self._predict = tf.function(self._predict_pass, autograph=False, input_signature=signature)
        self._outputs = tf.function(self._outputs_pass, autograph=False, input_signature=signature)

    def _predict_pass(
        self, weights: Weights, stats: Mapping[str, Any], arch: Tensor, frames: Tensor
    ) -> Tensor:
        return self.parts.accumulate_flow(self._outputs_pass(weights, stats, arch, frames))

    def _outputs_pass(
        self, weights: Weights, stats: Mapping[str, Any], arch: Tensor, frames: Tensor
    ) -> Any:
        x = self.parts.frames_to_input(frames)
        return forward(self.skeleton, weights, arch, x, GivenNorm(weights, stats))[0]

    def samples_at_once(self, height: int, width: int) -> int:
        """Return how many samples of a crop, px, are scored at once."""
        on_device = self.scored_on == "device"
        split = scoring.device_split if on_device else scoring.score_split
        return split(height, width)

    def share(
        self, weights: Weights, pool: Sequence[tuple[int, ...]], taken: Taken | None = None
    ) -> Shared:
        """Return weights to call :meth:`recalibrate` and :meth:`predict` with for a pool.

        Calls in the order of its schedule share every value; any other call is right and
        shares nothing.
        """
        model = Model(self.parts.plan(self.skeleton), self._layers, weights)
        told = None if taken is None else partial(taken, "")
        return Shared(
            model, pool, lambda frames: self._input(tf.constant(frames)), self._ahead, taken=told,
            lag=int(self.scored_on == "device"),
        )  # fmt: skip

    def recalibrate(
        self, weights: Weights, arch: Sequence[int], batches: Sequence[Batch]
    ) -> PooledStatistics:
        """Return the population statistics of the units that run for `arch`.

        Raises
        ------
        NonFiniteScoreError
            If a statistic is not finite.
        """
        shared = weights if isinstance(weights, Shared) else self.share(weights, [check_arch(arch)])
        code = shared.checked(arch)
        if not shared.holds(code, batches):
            shared = self.share(dict(weights), [code])
            shared.gather(batches, _nothing)
        return shared.pooled(code, self.parts.pool_statistics)

    def predict(
        self, weights: Weights, arch: Sequence[int], stats: PooledStatistics, batch: Batch
    ) -> NDArray[np.float32]:
        """Return the accumulated full-scale flow, (B, H, W, 2), float32, px.

        What :meth:`share` returned may take the place of the weights; values are shared if
        the statistics are the very ones that :meth:`recalibrate` returned for it.
        """
        shared = weights if isinstance(weights, Shared) else None
        code = shared.checked(arch) if shared else check_arch(arch)
        # Another accumulation is applied to whole outputs: shared heads lack the log-variance.
        if self.parts.accumulate_flow is not accumulate_flow:
            given, frames = self._complete(stats), tf.constant(batch.frames)
            flow = self._predict(dict(weights), given, tf.constant(code, tf.int32), frames)
            return np.asarray(flow.numpy(), np.float32)
        served = shared is not None and shared.gave(code, stats)
        if shared is None or not served or code not in shared.walk(batch).waiting:
            shared = self.share(dict(weights), [code])
            shared.give(code, self._complete(stats))
        return shared.walk(batch).flow(code)[: batch.size]  # a lone sample is run twice

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
        between: Callable[[], None] | None = None, journal: Journal | None = None,
        taken: Taken | None = None, look: Look | None = None,
    ) -> tuple[EvalRecord, dict[str, list[float]]]:  # fmt: skip
        """Score a pool.

        Parameters
        ----------
        between : callable, optional
            Called before each arch of each batch; what it raises ends the evaluation, which
            leaves nothing but the journal.
        journal : mapping, optional
            Holds what is finished; what is in it is not computed again.
        taken : callable, optional
            Receives each batch once it was recalibrated on, and each arch's once it was scored on:
            what was computed on, and not what the batch says of itself.
        look : callable, optional
            Receives the record, per-sample EPE and statistics at the end: what it takes to predict
            again what was scored.

        Returns
        -------
        record : EvalRecord
            Scores, digests and timings.
        per_sample : dict
            Arch to its per-sample EPE, px, in batch order.
        """
        between, journal = between or _nothing, {} if journal is None else journal
        pool = [check_arch(arch) for arch in protocol.pool]
        with closing(self.share(weights, pool, taken)) as shared:
            start = time.perf_counter()
            stats = self._statistics(shared, protocol.recal_batches, between, journal)
            middle = time.perf_counter()
            scored = self._score(shared, stats, protocol.eval_batches, between, journal, taken)
        seconds = middle - start, time.perf_counter() - middle
        per_sample = {format_arch(arch): scored[arch] for arch in protocol.pool}
        digest = stats_digest({arch: stats[arch] for arch in protocol.pool})
        record = self._record(weights, protocol, per_sample, digest, seconds, epoch)
        if look is not None:
            look(record, per_sample, stats)
        return record, per_sample

    def _statistics(
        self, shared: Shared, batches: Sequence[Batch], between: Callable[[], None],
        journal: Journal,
    ) -> dict[Arch, PooledStatistics]:  # fmt: skip
        """Return each arch's population statistics."""
        shared.gather(batches, between, journal)
        stats = {}
        for arch in shared.archs:
            between()
            stats[arch] = self.recalibrate(shared, arch, batches)
        return stats

    def _record(
        self, weights: Weights, protocol: Protocol, per_sample: Mapping[str, list[float]],
        digest: str, seconds: tuple[float, float], epoch: int,
    ) -> EvalRecord:  # fmt: skip
        parts, batches = self.parts, protocol.eval_batches
        per_arch = [
            _finite(parts.mean(samples), arch)
            for arch, samples in zip(protocol.pool, per_sample.values(), strict=True)
        ]
        return EvalRecord(
            archs=tuple(per_sample),
            per_arch_epe=tuple(per_arch),
            mean_epe=parts.mean(per_arch),
            std_epe=statistics.pstdev(per_arch),
            zero_flow_epe=parts.mean(_zero_flow_epe(parts, batches)),
            samples=sum(batch.size for batch in batches),
            batches=len(batches),
            batches_asked=protocol.batches_asked,
            recal_batches=len(protocol.recal_batches),
            eval_batch_hash=join_digests(batches),
            bn_recal_batch_hash=join_digests(protocol.recal_batches),
            stats_digest=digest,
            weights_digest=digest_arrays({n: np.asarray(w) for n, w in weights.items()}),
            flow_clip=batches[0].flow_clip,
            eval_seconds=seconds[1],
            bn_recal_seconds=seconds[0],
            unknown_pixels=sum(batch.unknown_pixels for batch in batches),
            epoch=epoch,
        )

    def _score(
        self, shared: Shared, stats: Mapping[Arch, PooledStatistics], batches: Sequence[Batch],
        between: Callable[[], None], journal: Journal, taken: Taken | None,
    ) -> dict[Arch, list[float]]:  # fmt: skip
        """Return each arch's per-sample EPE, batch by batch, subtree by subtree."""
        samples: dict[Arch, list[float]] = {arch: [] for arch in stats}
        size = self.samples_at_once(*batches[0].frames.shape[1:3])
        together = self.scored_on == "device" and self._is_as_compiled(shared, stats)
        for index, batch in enumerate(score_pieces(batches, size)):
            todo = [s for s in shared.subtrees if ("score", index, s.name) not in journal]
            scored = (
                device_scores(shared, batch, todo, between, self._scoring, size)
                if together
                else self._host_scores(shared, stats, batch, todo, between)
            )
            for subtree, found in scored:
                for arch, values in found.items():
                    # Before it is kept: the journal would hand it to the next process as finished.
                    _finite(sum(values), arch)
                    if taken is not None:
                        taken(format_arch(arch), batch)
                journal["score", index, subtree.name] = found
            for subtree in shared.subtrees:
                known = journal["score", index, subtree.name]
                # A file of an earlier version may hold others: no digest of it says so.
                if known.keys() != set(subtree.archs):
                    msg = f"scores of batch {index}, {subtree.name}: of other archs than are asked"
                    raise InputError(msg)
                for arch, values in known.items():
                    samples[arch] += values
        return samples

    def _host_scores(
        self, shared: Shared, stats: Mapping[Arch, PooledStatistics], batch: Batch,
        todo: Sequence[Subtree], between: Callable[[], None],
    ) -> Iterator[tuple[Subtree, dict[Arch, list[float]]]]:  # fmt: skip
        """Yield each subtree with the per-sample EPE of its archs, one arch after another."""
        if todo:
            shared.start(batch, [arch for subtree in todo for arch in subtree.archs])
        for subtree in todo:
            found: dict[Arch, list[float]] = {}
            for arch in subtree.archs:
                between()
                flow = self.predict(shared, arch, stats[arch], batch)
                found[arch] = self.parts.epe(flow, batch.flow, batch.valid).tolist()
                _finite(sum(found[arch]), arch)
            yield subtree, found

    def _is_as_compiled(self, shared: Shared, stats: Mapping[Arch, PooledStatistics]) -> bool:
        """Return whether nobody replaced a step of what scores archs together.

        Whoever did is called for each arch.
        """
        parts = self.parts
        own = (parts.accumulate_flow, parts.epe) == (accumulate_flow, sample_epe)
        return (
            own and getattr(self.predict, "__func__", None) is Evaluator.predict
            and all(shared.gave(arch, given) for arch, given in stats.items())
        )  # fmt: skip


def _nothing() -> None:
    """Do nothing between two archs."""


# What a dead metric stays at: EdgeFlowNAS's did while only its last residual was scored.
def _zero_flow_epe(parts: EvalParts, batches: Sequence[Batch]) -> list[float]:
    return [
        float(value)
        for batch in batches
        for value in parts.epe(np.zeros_like(batch.flow), batch.flow, batch.valid)
    ]


def _finite(value: float, arch: Arch) -> float:
    if not math.isfinite(value):
        msg = f"arch {format_arch(arch)}: EPE is {value}, expected a finite number"
        raise NonFiniteScoreError(msg)
    return value
