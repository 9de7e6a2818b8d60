"""The trained state: weights, moving statistics, Adam's moments and powers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness.streams import uniform
from harness.supernet.space import SKELETONS, norm_units, variable_shapes
from harness.training.adam import BETA_1, BETA_2

__all__ = ["Initial", "Supernet", "initial_weight"]

Array = NDArray[np.float32]
Initial = Callable[[int, str, tuple[int, ...]], Array]
"""(seed, name, shape) -> value of a weight before training."""


def initial_weight(seed: int, name: str, shape: tuple[int, ...]) -> Array:
    """Return a variable's value before training, a function of (seed, name, shape).

    Kernels: Glorot uniform (Glorot and Bengio, 2010), TensorFlow 1's default; gamma 1,
    beta 0.
    """
    if name.endswith("/gamma"):
        return np.ones(shape, np.float32)
    if name.endswith("/beta"):
        return np.zeros(shape, np.float32)
    receptive = shape[0] * shape[1]
    limit = np.sqrt(6.0 / (receptive * (shape[2] + shape[3])))
    draws = uniform(seed, f"init/{name}", size=int(np.prod(shape)))
    return np.asarray((2.0 * draws - 1.0) * limit, np.float32).reshape(shape)


class Supernet:
    """All variables of a supernet in training.

    Parameters
    ----------
    skeleton : str
        Key of :data:`harness.supernet.space.SKELETONS`.
    width : int
        Base width C.
    seed : int
        Selects the initial weights.
    initial : callable
        Value of a weight before training, of seed, name and shape.
    """

    def __init__(
        self, skeleton: str, width: int, seed: int, initial: Initial = initial_weight
    ) -> None:
        self.skeleton = skeleton
        shapes = variable_shapes(SKELETONS[skeleton], width)
        self.weights = {
            name: tf.Variable(initial(seed, name, shape), name=name, dtype=tf.float32)
            for name, shape in shapes.items()
        }
        self.moving = {}
        for unit in norm_units(SKELETONS[skeleton]):
            channels = shapes[f"{unit}/gamma"]
            self.moving[unit] = tf.Variable(tf.zeros(channels)), tf.Variable(tf.ones(channels))
        self.first = {n: tf.Variable(tf.zeros(s)) for n, s in shapes.items()}
        self.second = {n: tf.Variable(tf.zeros(s)) for n, s in shapes.items()}
        self.powers = tf.Variable(BETA_1, dtype=tf.float32), tf.Variable(BETA_2, dtype=tf.float32)

    def reset(self, seed: int, initial: Initial = initial_weight) -> None:
        """Set every variable to its value before training."""
        # In place: compiled functions hold these very variables and are used again (decision 0007).
        for name, variable in self.weights.items():
            _write(variable, initial(seed, name, tuple(variable.shape)))
        for mean, variance in self.moving.values():
            _write(mean, np.zeros(mean.shape, np.float32))
            _write(variance, np.ones(variance.shape, np.float32))
        for slot in (*self.first.values(), *self.second.values()):
            _write(slot, np.zeros(slot.shape, np.float32))
        _write(self.powers[0], BETA_1)
        _write(self.powers[1], BETA_2)

    def variables(self) -> dict[str, Any]:
        """Return every variable by its name in a checkpoint."""
        named: dict[str, Any] = dict(self.weights)
        for unit, (mean, variance) in self.moving.items():
            named[f"{unit}/moving_mean"] = mean
            named[f"{unit}/moving_variance"] = variance
        named |= {f"adam/m/{name}": value for name, value in self.first.items()}
        named |= {f"adam/v/{name}": value for name, value in self.second.items()}
        named |= {"adam/beta1_power": self.powers[0], "adam/beta2_power": self.powers[1]}
        return named

    def get_state(self) -> dict[str, Array]:
        """Return a copy of every variable by name."""
        # Copied: what .numpy() returns may be the variable's own memory, which training writes to.
        return {name: np.array(_read(value).numpy()) for name, value in self.variables().items()}

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Set every variable; nothing may be left over on either side.

        Raises
        ------
        ValueError
            If names or a shape differ, listing them; nothing is set then.
        """
        variables = self.variables()
        self._require_fit(state, absent=sorted(variables.keys() - state.keys()))
        for name, variable in variables.items():
            _write(variable, state[name])

    def assign(self, changes: Mapping[str, Array]) -> None:
        """Set the named variables alone; a name or a shape that is not there is refused as above.

        Raises
        ------
        ValueError
            If a name or a shape differs; nothing is set then.
        """
        self._require_fit(changes)
        variables = self.variables()
        for name, array in changes.items():
            _write(variables[name], array)

    def _require_fit(self, state: Mapping[str, Array], absent: Sequence[str] = ()) -> None:
        variables = self.variables()
        surplus = sorted(state.keys() - variables.keys())
        misfits = [
            f"{name}: {state[name].shape} instead of {tuple(variables[name].shape)}"
            for name in sorted(variables.keys() & state.keys())
            if state[name].shape != tuple(variables[name].shape)
        ]
        problems = [
            f"{len(items)} {what} ({', '.join(items[:5])})"
            for what, items in (("absent", absent), ("surplus", surplus), ("misshapen", misfits))
            if items
        ]
        if problems:
            msg = f"state does not fit the supernet: {'; '.join(problems)}"
            raise ValueError(msg)

    def weight_tensors(self) -> dict[str, Any]:
        """Return the weights as tensors, detached from later training steps."""
        return {name: _read(variable) for name, variable in self.weights.items()}


def _read(variable: Any) -> Any:
    """Return a variable's value; ``read_value`` takes four times as long."""
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.float32)


def _write(variable: Any, value: Any) -> None:
    """Assign a copy: TensorFlow keeps the memory of an aligned array that it is given."""
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=np.array(value, np.float32))
