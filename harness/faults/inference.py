"""Faults of a net that is scored as another one than was trained, or beside another zero."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from harness.evaluation.evaluator import Evaluator
from harness.faults.base import Fault, overriding

__all__ = ["ScoredWithLargerEpsilon", "ScoredWithoutGamma", "ZeroFlowOfFirstBatch"]


class _Scored(Fault):
    """Predictions are made by other weights or statistics than the evaluator was given."""

    family = "BN"
    expected = ("loss-recomputed",)
    touches = ("metric", "response", "recalibration", "scores")

    def changed(self, weights: dict[str, Any], stats: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the weights and the statistics to predict by."""
        raise NotImplementedError

    def wrap(self, system: Any) -> Any:
        """Change both on the way to a prediction; recalibration stays sound."""

        def opened(inner: Any, config: Mapping[str, Any]) -> None:
            inner.open(config)
            # The session's own copy: what it has compiled is shared with others, and stays whole.
            evaluator: Evaluator = inner.session.evaluator
            predict, outputs = evaluator.predict, evaluator.outputs

            def predicted(weights: Any, arch: Any, stats: Any, batch: Any) -> Any:
                other, normalised = self.changed(dict(weights), stats)
                return predict(other, arch, normalised, batch)

            def put_out(weights: Any, arch: Any, stats: Any, frames: Any) -> Any:
                other, normalised = self.changed(dict(weights), stats)
                return outputs(other, arch, normalised, frames)

            evaluator.predict, evaluator.outputs = predicted, put_out  # type: ignore[method-assign]

        return overriding(system, open=opened)


class ScoredWithLargerEpsilon(_Scored):
    """Inference normalises with Keras's epsilon of 1e-3, training with 1e-5.

    Channels of little variance are damped in what is scored, and in nothing else.
    """

    id = "scored-with-larger-epsilon"
    citation = "qqwweee/keras-yolo3#451 (1e-3 in Keras, 1e-5 where the weights were trained)"

    def changed(self, weights: dict[str, Any], stats: Mapping[str, Any]) -> tuple[Any, Any]:
        """Add the difference to each variance."""
        more = np.float32(1e-3 - 1e-5)
        return weights, {unit: (mean, variance + more) for unit, (mean, variance) in stats.items()}


class ScoredWithoutGamma(_Scored):
    """Inference takes every gamma for 1 (MXNet's ``fix_gamma``), training learns them.

    Before training nothing differs.
    """

    id = "scored-without-gamma"
    citation = "deepinsight/insightface#310; apache/mxnet#9624 (fix_gamma is true by default)"

    def changed(self, weights: dict[str, Any], stats: Mapping[str, Any]) -> tuple[Any, Any]:
        """Put ones for the gammas."""
        return {
            name: tf.ones_like(value) if name.endswith("/gamma") else value
            for name, value in weights.items()
        }, stats


class ZeroFlowOfFirstBatch(Fault):
    """The zero flow that scores are held against is that of the first batch alone."""

    id, family = "zero-flow-of-first-batch", "METRIC"
    citation = "ManifoldRG/MultiNet#774 (one batch alone enters the metric)"
    expected = ("metric-recomputed",)
    touches = ("metric", "epoch_log", "ledger")

    def wrap(self, system: Any) -> Any:
        """Replace the baseline in the record of every evaluation, in training and out of it."""

        def opened(inner: Any, config: Mapping[str, Any]) -> None:
            inner.open(config)
            evaluator: Evaluator = inner.session.evaluator
            evaluate = evaluator.evaluate

            def evaluated(weights: Any, protocol: Any, **options: Any) -> Any:
                record, per_sample = evaluate(weights, protocol, **options)
                batch, parts = protocol.eval_batches[0], evaluator.parts
                epe = parts.epe(np.zeros_like(batch.flow), batch.flow, batch.valid)
                zero = parts.mean(epe.tolist())
                return dataclasses.replace(record, zero_flow_epe=zero), per_sample

            evaluator.evaluate = evaluated  # type: ignore[method-assign]

        return overriding(system, open=opened)
