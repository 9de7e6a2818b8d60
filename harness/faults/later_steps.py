"""Faults that a first step does not show: of later steps, partial batches, micro-batches."""

from itertools import count
from typing import Any

import tensorflow as tf

from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_open
from harness.runs.parts import Parts
from harness.supernet.loss import multiscale_loss
from harness.training.adam import adam_step

__all__ = [
    "AccumulatorZeroedOnceAnEpoch", "DivisorOfFullBatch", "GammasEveryOtherStep", "LabelsLag",
    "MomentsRestartEachEpoch",
    "RateHeld", "StatisticsOfLastMicroBatch",
]  # fmt: skip


class RateHeld(Fault):
    """Every third update is made with the rate of the one before; the log has the plan's."""

    id, family = "rate-held", "GRAD"
    citation = "pytorch/pytorch#22107 (the rate that is told is not the one in use)"
    expected = ("every-update-is-adam",)
    touches = ("every_step",)

    def apply(self, parts: Parts) -> Parts:
        """Hold the rate in a variable that the third step does not renew."""
        held = tf.Variable(0.0)

        def apply(
            variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any
        ) -> None:
            # Adam's own power says which step it is, whatever was restored.
            power = tf.math.log(powers[0].read_value()) / tf.math.log(0.9)
            step = tf.cast(tf.round(power), tf.int32)
            held.assign(tf.where(step % 3 == 0, held.read_value(), lr))
            adam_step(variables, first, second, powers, gradients, held.read_value())

        return replaced(parts, "train", apply=apply)


class DivisorOfFullBatch(Fault):
    """The gradients of a partial last batch are divided by the samples of a full one."""

    id, family = "divisor-of-full-batch", "GRAD"
    citation = "jingyaogong/minimind#749; modelscope/ms-swift#10084"
    expected = ("later-gradients-of-loss",)
    touches = ("every_step",)
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Remember the largest batch."""
        most = [0]

        def weight(samples: int, batch: int, archs: int = 3) -> float:
            most[0] = max(most[0], batch)
            return samples / (most[0] * archs)

        return replaced(parts, "train", micro_weight=weight)


class AccumulatorZeroedOnceAnEpoch(Fault):
    """The accumulator is zeroed when an epoch starts, and kept between its steps."""

    id, family = "accumulator-zeroed-once-an-epoch", "GRAD"
    citation = "pytorch/pytorch#47175; heartcored98/Standalone-DeepLearning#11"
    expected = ("later-gradients-of-loss",)
    touches = ("every_step",)

    def wrap(self, system: Any) -> Any:
        """Start a step from the last total, unless it is the first of its epoch."""

        def change(inner: Any) -> None:
            step, trainer = inner.trainer._step, inner.trainer
            functions = step._functions

            def zero(_: Any) -> None:
                if trainer.progress.step == 0:
                    functions.zero()

            step._functions = overriding(functions, zero=zero)

        return after_open(system, change)


class MomentsRestartEachEpoch(Fault):
    """A new optimizer is made for each epoch: its moments start from zero."""

    id, family = "moments-restart-each-epoch", "GRAD"
    citation = "pythoncymetric/cymetric#4; facebookresearch/coconut#10"
    expected = ("every-update-is-adam",)
    touches = ("every_step",)

    def wrap(self, system: Any) -> Any:
        """Set both moments to zero before the first step of an epoch, but the run's first."""

        def change(inner: Any) -> None:
            step, trainer, model = inner.trainer._step, inner.trainer, inner.session.model
            functions = step._functions

            def apply(_: Any, lr: Any) -> Any:
                if trainer.progress.step == 0:
                    for slot in (*model.first.values(), *model.second.values()):
                        slot.assign(tf.zeros_like(slot))
                return functions.apply(lr)

            step._functions = overriding(functions, apply=apply)

        return after_open(system, change)


class StatisticsOfLastMicroBatch(Fault):
    """Moving statistics take in the last micro-batch of a batch alone."""

    id, family = "statistics-of-last-micro-batch", "BN"
    citation = "pytorch/pytorch#46516 (statistics under gradient accumulation)"
    expected = ("micro-batches-followed",)
    touches = ("micro_statistics",)

    def wrap(self, system: Any) -> Any:
        """Undo what every micro-batch but the last of an arch moved."""

        def change(inner: Any) -> None:
            step, model = inner.trainer._step, inner.session.model
            functions, kept = step._functions, dict[str, list[Any]]()
            weigh = step._parts.micro_weight

            def gradient(_: Any, *arguments: Any) -> Any:
                kept.update({u: [v.numpy() for v in pair] for u, pair in model.moving.items()})
                return functions.gradient(*arguments)

            seen = [0]

            def weight(samples: int, batch: int, archs: int = 3) -> float:
                seen[0] += samples
                if seen[0] < batch:
                    for unit, pair in model.moving.items():
                        for variable, old in zip(pair, kept[unit], strict=True):
                            variable.assign(old)
                else:
                    seen[0] = 0
                found: float = weigh(samples, batch, archs)
                return found

            step._functions = overriding(functions, gradient=gradient)
            step._parts = overriding(step._parts, micro_weight=lambda _, *a, **k: weight(*a, **k))

        return after_open(system, change)


class LabelsLag(Fault):
    """A step's first arch is compared with the labels of the batch before."""

    id, family = "labels-lag", "DATA"
    citation = "apache/mxnet#11793 (reading ahead changed the label to the next batch's)"
    expected = ("labels-of-their-step",)
    touches = ("own_labels",)

    def apply(self, parts: Parts) -> Parts:
        """Keep the labels of one call for the next, where they have its shape."""
        kept = tf.Variable(tf.zeros([0, 0, 0, 2]), shape=[None, None, None, 2])

        def loss(outputs: Any, label: Any, valid: Any) -> Any:
            before = kept.read_value()
            with tf.control_dependencies([before]):
                kept.assign(label)
            same = tf.reduce_all(tf.equal(tf.shape(before), tf.shape(label)))
            label = tf.cond(same, lambda: before, lambda: label)
            return multiscale_loss(outputs, label, valid)

        return replaced(parts, "train", loss=loss)


class GammasEveryOtherStep(Fault):
    """Every other update leaves out the scales of norms, and their moments with them."""

    id, family = "gammas-every-other-step", "GRAD"
    citation = "Lightning-AI/pytorch-lightning#1517 (weights that some steps are not to update)"
    expected = ("every-update-is-adam",)
    touches = ("every_step",)

    def wrap(self, system: Any) -> Any:
        """Set them back behind every second update."""

        def change(inner: Any) -> None:
            step, model = inner.trainer._step, inner.session.model
            functions, updates = step._functions, count(1)
            names = [name for name in model.weights if name.endswith("/gamma")]
            kept = [v for n in names for v in (model.weights[n], model.first[n], model.second[n])]

            def apply(_: Any, rate: Any) -> Any:
                before = [variable.numpy().copy() for variable in kept]
                finite = functions.apply(rate)
                if next(updates) % 2 == 0:
                    for variable, value in zip(kept, before, strict=True):
                        variable.assign(value)
                return finite

            step._functions = overriding(functions, apply=apply)

        return after_open(system, change)
