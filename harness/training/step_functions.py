"""The compiled functions of a training step, between which no gradient leaves TensorFlow."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from harness.supernet.loss import weight_decay
from harness.supernet.network import BatchNorm, forward
from harness.training.model import Supernet
from harness.training.train_parts import TrainParts

__all__ = ["CompiledGradient", "StepFunctions", "loss_and_gradients"]

Tensor = Any


def loss_and_gradients(
    model: Supernet, parts: TrainParts, decay: float, arch: Tensor, batch: Sequence[Tensor],
    make_norm: Callable[[Any], Any],
) -> tuple[Tensor, list[Tensor], Any]:  # fmt: skip
    """Return loss, gradients (in the order of the weights) and what the norm reported."""
    frames, flow, valid = batch
    weights = dict(zip(model.weights, _values(list(model.weights.values())), strict=True))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(list(weights.values()))
        outputs, stats = forward(
            model.skeleton, weights, arch, parts.frames_to_input(frames), make_norm(weights)
        )
        kernels = [w for name, w in weights.items() if name.endswith("/kernel")]
        loss = parts.loss(outputs, flow, valid) + weight_decay(kernels, decay)
    # Of what did not run: None eagerly, zeros from tf.switch_case in a graph; zeros in both.
    gradients = tape.gradient(
        loss, list(weights.values()), unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return loss, gradients, stats


class CompiledGradient:
    """The compiled loss of one arch on one micro-batch, whose gradients stay in variables.

    A hundred gradients that leave a compiled function and enter the next one cost as much as
    what is done with them.

    Parameters
    ----------
    model : Supernet
        Whose variables are read, and whose moving statistics are updated.
    decay : float
        Weight decay.
    parts : TrainParts
        Of which frames to input and loss are compiled.

    Attributes
    ----------
    gradients : list of tf.Variable
        Of the last call, in the order of the weights.
    """

    def __init__(self, model: Supernet, decay: float, parts: TrainParts) -> None:
        self._model, self._decay, self._parts = model, decay, parts
        self.gradients = _zeros(model)
        spec = tf.TensorSpec
        # Open, or a smaller last micro-batch would be traced anew.
        shape = [None, None, None]
        signature = [
            spec([9], tf.int32), spec([*shape, 6], tf.uint8), spec([*shape, 2], tf.float32),
            spec(shape, tf.bool),
        ]  # fmt: skip
        self._call = tf.function(self._run, autograph=False, input_signature=signature)

    def __call__(self, arch: Tensor, frames: Tensor, flow: Tensor, valid: Tensor) -> Tensor:
        """Return the loss."""
        return self._call(arch, frames, flow, valid)

    def traced(self) -> int:
        """Return how often it was traced."""
        return int(self._call.experimental_get_tracing_count())

    def _run(self, arch: Tensor, frames: Tensor, flow: Tensor, valid: Tensor) -> Tensor:
        model = self._model
        moving = {unit: tuple(_values(pair)) for unit, pair in model.moving.items()}
        loss, gradients, stats = loss_and_gradients(
            model, self._parts, self._decay, arch, (frames, flow, valid),
            lambda weights: BatchNorm(weights, moving),
        )  # fmt: skip
        for unit, pair in model.moving.items():
            _assign(pair, stats[unit])
        _assign(self.gradients, gradients)
        return loss


class StepFunctions:
    """The compiled functions of a step over one supernet's variables.

    They depend on nothing but the arguments here, so that another run of the same process
    may use them again on the same, reset supernet.

    Parameters
    ----------
    model : Supernet
        Whose variables are read and updated.
    decay : float
        Weight decay.
    parts : TrainParts
        Of which frames to input, loss, zeroed, accumulate, clip and apply are compiled.
    earlier : StepFunctions, optional
        Of the same supernet, decay, frames to input and loss: what was compiled for it of the
        same parts is used again, and so is the gradient, which takes as long as all the rest.

    Attributes
    ----------
    gradient : callable
        (arch, frames, flow, valid) -> loss, which leaves the gradients to the others.
    zero : callable
        () -> None: begin a step's sum.
    accumulate : callable
        (weight) -> None: add the last gradients to the sum.
    accumulate_clipped : callable
        (threshold, weight) -> norms before and after clipping what is then added.
    clip : callable
        (threshold) -> norms before and after clipping the sum.
    apply : callable
        (learning rate) -> whether everything is finite after the update by the sum.
    """

    def __init__(
        self, model: Supernet, decay: float, parts: TrainParts,
        earlier: "StepFunctions | None" = None,
    ) -> None:  # fmt: skip
        self._model, self._parts = model, parts
        self.gradient: CompiledGradient
        self.gradient = earlier.gradient if earlier else CompiledGradient(model, decay, parts)
        self._gradients = self.gradient.gradients
        self._sums: list[Any] = earlier._sums if earlier else _zeros(model)
        self._made: dict[Any, Any] = earlier._made if earlier else {}
        self.zero = self._compiled(self._zero, parts.zeroed)
        self.accumulate = self._compiled(self._accumulate, parts.accumulate)
        self.accumulate_clipped = self._compiled(
            self._accumulate_clipped, parts.clip, parts.accumulate
        )
        self.clip = self._compiled(self._clip, parts.clip)
        self.apply = self._compiled(self._apply, parts.apply)

    def forget(self) -> None:
        """Leave nothing of an earlier run in the sum."""
        for total in self._sums:
            total.assign(tf.zeros_like(total))

    def _compiled(self, function: Callable[..., Any], *parts: Any) -> Any:
        """Return the compiled function, once for the parts that it is made of."""
        key = function.__name__, *parts
        if key not in self._made:
            self._made[key] = tf.function(function, autograph=False)
        return self._made[key]

    def _zero(self) -> None:
        _assign(self._sums, self._parts.zeroed(_values(self._sums)))

    def _accumulate(self, weight: Tensor) -> None:
        total = self._parts.accumulate(_values(self._sums), _values(self._gradients), weight)
        _assign(self._sums, total)

    def _accumulate_clipped(self, threshold: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        clipped, before, after = self._parts.clip(_values(self._gradients), threshold)
        _assign(self._sums, self._parts.accumulate(_values(self._sums), clipped, weight))
        return before, after

    def _clip(self, threshold: Tensor) -> tuple[Tensor, Tensor]:
        clipped, before, after = self._parts.clip(_values(self._sums), threshold)
        _assign(self._sums, clipped)
        return before, after

    def _apply(self, lr: Tensor) -> Tensor:
        model = self._model
        self._parts.apply(
            list(model.weights.values()), list(model.first.values()),
            list(model.second.values()), model.powers, _values(self._sums), lr,
        )  # fmt: skip
        statistics = [value for pair in model.moving.values() for value in pair]
        # One number a step: a NaN or Inf anywhere is one in the norm.
        state = _values([*model.weights.values(), *statistics])
        return tf.math.is_finite(tf.linalg.global_norm(state))


def _zeros(model: Supernet) -> list[Any]:
    return [tf.Variable(tf.zeros_like(w), trainable=False) for w in model.weights.values()]


def _values(variables: Sequence[Any]) -> list[Tensor]:
    # One operation each: ``read_value`` and ``assign`` make more, and tracing them takes longer.
    return [tf.raw_ops.ReadVariableOp(resource=v.handle, dtype=v.dtype) for v in variables]


def _assign(variables: Sequence[Any], values: Sequence[Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
