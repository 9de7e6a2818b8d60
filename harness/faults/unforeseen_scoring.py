"""Faults of data, randomness, evaluation and arch codes, written without knowing the gate."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from harness.evaluation.evaluator import Evaluator
from harness.faults.base import Fault, overriding, replaced
from harness.fc2.batch import Batch
from harness.fc2.crop import Window, random_window
from harness.fc2.order import train_order
from harness.fc2.provider import assemble
from harness.runs.parts import Parts
from harness.streams import raw
from harness.training.model import initial_weight

__all__ = [
    "CropFollowsShuffle", "EndsDrawnHalfAsOften",
    "LeavingPixelsUntrained", "PartialBatchTrainsArchsBefore", "RepeatedDrawKeepsItsCrop",
    "ScoredWithLargerEpsilon", "ScoredWithoutGamma", "StemIgnoresSeed", "ZeroFlowOfFirstBatch",
]  # fmt: skip


class EndsDrawnHalfAsOften(Fault):
    """Of fixed steps, the first and the last sample are drawn half as often as any other.

    A uniform number is scaled to the last index and rounded, where it should be scaled to the
    count and cut off. Acts under ``train.epoch_mode: fixed_steps`` alone.
    """

    id, family = "ends-drawn-half-as-often", "DATA"
    citation = "UnofficialSF/LightningFlowComponents#1552 (Math.round(random * (size - 1)))"
    expected = ("orders-independent",)
    touches = ("draws", "drawn_together", "windows")
    modes = ("fixed_steps",)

    def apply(self, parts: Parts) -> Parts:
        """Round; a full pass is a permutation and stays sound."""

        def order(
            count: int, *, seed: int, epoch: int, batch_size: int, steps: int | None
        ) -> list[int]:
            if steps is None:
                return train_order(
                    count, seed=seed, epoch=epoch, batch_size=batch_size, steps=steps
                )
            bits = raw(seed, "train/draw", epoch, size=steps * batch_size) >> np.uint64(11)
            return [round(float(u) * 2.0**-53 * (count - 1)) for u in bits]

        return replaced(parts, "data", train_order=order)


class _Order:
    """The sound training order, which keeps something of each draw for the crop.

    Parameters
    ----------
    keep : callable
        Returns a value for each draw, of the order, seed, epoch, and steps or None.
    """

    def __init__(self, keep: Callable[[list[int], int, int, int | None], Sequence[int]]) -> None:
        self._keep, self._kept = keep, dict[tuple[int, int], Sequence[int]]()

    def __call__(
        self, count: int, *, seed: int, epoch: int, batch_size: int, steps: int | None
    ) -> list[int]:
        """Return the order of an epoch."""
        found = train_order(count, seed=seed, epoch=epoch, batch_size=batch_size, steps=steps)
        self._kept[seed, epoch] = self._keep(found, seed, epoch, steps)
        return found

    def of(self, seed: int, epoch: int, index: int) -> int | None:
        """Return what was kept of a draw; None of one that was never ordered."""
        kept = self._kept.get((seed, epoch), ())
        return int(kept[index]) if index < len(kept) else None


class RepeatedDrawKeepsItsCrop(Fault):
    """A sample that is drawn again in an epoch is found in a cache of crops: the same window.

    A full pass draws each sample once. Acts under ``train.epoch_mode: fixed_steps`` alone.
    """

    id, family = "repeated-draw-keeps-its-crop", "CACHE"
    citation = "tensorflow/tensorflow#47755 (samples are cached after their augmentation)"
    expected = ("windows-independent",)
    touches = ("draws", "drawn_together", "windows")
    modes = ("fixed_steps",)

    def apply(self, parts: Parts) -> Parts:
        """Use the number of the sample's first draw in the epoch."""

        def first_draws(found: list[int], *_: Any) -> list[int]:
            # Backwards, so that the first draw of a sample stays.
            first = {sample: index for index, sample in reversed(list(enumerate(found)))}
            return [first[sample] for sample in found]

        order = _Order(first_draws)

        def window(
            frame: tuple[int, int], crop: tuple[int, int], *, seed: int, epoch: int, index: int
        ) -> Window:
            first = order.of(seed, epoch, index)
            number = index if first is None else first
            return random_window(frame, crop, seed=seed, epoch=epoch, index=number)

        return replaced(parts, "data", train_order=order, random=window)


class CropFollowsShuffle(Fault):
    """A sample's place in the epoch and the height of its crop come from one random number.

    The epoch begins with crops at the top of the frames and ends with those at the bottom: each
    batch sees one strip. Over a whole epoch, rows are as evenly spread as ever.
    """

    id, family = "crop-follows-shuffle", "DETERM"
    citation = "kvablack/dlimp#5 (one seed for several operations: they are correlated)"
    expected = ("windows-independent",)
    touches = ("draws", "drawn_together", "windows")
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Take the top from the number by which the shuffle has sorted the sample."""

        def sort_keys(found: list[int], seed: int, epoch: int, steps: int | None) -> Any:
            # Draws with replacement sort nothing.
            return () if steps else raw(seed, "train/order", epoch, size=len(found))[found]

        order = _Order(sort_keys)

        def window(
            frame: tuple[int, int], crop: tuple[int, int], *, seed: int, epoch: int, index: int
        ) -> Window:
            sound = random_window(frame, crop, seed=seed, epoch=epoch, index=index)
            key = order.of(seed, epoch, index)
            if key is None:
                return sound
            # The 64-bit number as a share of the places that there are.
            return dataclasses.replace(sound, top=(key * (frame[0] - crop[0] + 1)) >> 64)

        return replaced(parts, "data", train_order=order, random=window)


class PartialBatchTrainsArchsBefore(Fault):
    """A last batch that is not full trains the archs of the step before; its own are logged.

    The codes are put into a buffer together with a full batch, which a partial one passes by.
    """

    id, family = "partial-batch-trains-archs-before", "NAS"
    citation = "coxlab/prednet#67 (a last, smaller batch goes the way of a full one)"
    expected = ("logged-archs-trained",)
    touches = ("every_step", "own_draws", "epoch_log", "partial_batches")
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Keep the codes of the last full batch, for each run's own step."""
        run = parts.train.step
        buffers: dict[int, tuple[int, Sequence[Sequence[int]]]] = {}

        def step(inner: Any, archs: Sequence[Sequence[int]], batch: Batch, *rest: Any) -> Any:
            size, codes = buffers.get(id(inner), (0, archs))
            if batch.size >= size:
                size, codes = buffers[id(inner)] = batch.size, archs
            return run(inner, codes, batch, *rest)

        return replaced(parts, "train", step=step)


class LeavingPixelsUntrained(Fault):
    """Pixels that move out of the crop count as unknown in training, and are scored all the same.

    The mask is one of occlusions: what cannot be seen in the second frame. FlyingChairs knows
    these vectors, and an evaluation counts them.
    """

    id, family = "leaving-pixels-untrained", "GEOM"
    citation = "jianfenglihg/UnOpticalFlow#4 (the mask of what stays visible, for all pixels)"
    expected = (
        "train-draws-declared",
        "loss-recomputed",
    )
    touches = ("draws", "consumed", "loss", "own_labels")

    def apply(self, parts: Parts) -> Parts:
        """Mask training batches once they are put together."""

        def masked(*args: Any, role: Any, **settings: Any) -> Batch:
            batch = assemble(*args, role=role, **settings)
            if role != "train":
                return batch
            height, width = batch.valid.shape[1:]
            rows, columns = np.mgrid[:height, :width]
            x, y = columns + batch.flow[..., 0], rows + batch.flow[..., 1]
            stays = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
            return dataclasses.replace(batch, valid=batch.valid & stays)

        return replaced(parts, "data", assemble=masked)


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


class StemIgnoresSeed(Fault):
    """The first layer's kernel starts alike whatever the seed: its initialiser has its own.

    Everything else follows the seed, so that runs of two seeds differ from the first step.
    """

    id, family = "stem-ignores-seed", "DETERM"
    citation = "lululxvi/deepxde#2086 (an initialiser that no seed of the run reaches)"
    expected = ("seeds-matter",)
    touches = ("drawn_together", "elsewhere")

    def apply(self, parts: Parts) -> Parts:
        """Draw one kernel by a default seed."""

        def initial(seed: int, name: str, shape: tuple[int, ...]) -> Any:
            return initial_weight(0 if name == "E0/kernel" else seed, name, shape)

        return replaced(parts, "train", initial=initial)


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
