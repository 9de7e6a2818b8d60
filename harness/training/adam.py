"""Adam as TensorFlow 1 computes it, bit for bit: the fused ``ResourceApplyAdam`` kernel.

Keras 3's Adam differs from it in the last bits. Both beta powers are kept as state: the
stored power is ``beta ** (t + 1)``, and ``0.9 ** (t + 1)`` underflows after about 990
steps, so t cannot be recovered from it.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

__all__ = ["BETA_1", "BETA_2", "EPSILON", "adam_step"]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Kingma and Ba (2015), the values EdgeFlowNAS uses."""

Variable = Any


def adam_step(
    variables: Sequence[Variable],
    first: Sequence[Variable],
    second: Sequence[Variable],
    powers: tuple[Variable, Variable],
    gradients: Sequence[Any],
    lr: Any,
) -> None:
    """Apply one Adam step in place.

    Parameters
    ----------
    variables, first, second : sequence of tf.Variable
        Weights and their two moments.
    powers : pair of tf.Variable
        beta_1 ** t and beta_2 ** t for the step t that is about to be applied.
    gradients : sequence of tensor
        One per variable.
    lr : tensor
        Learning rate.
    """
    rows = zip(variables, first, second, gradients, strict=True)
    beta1_power, beta2_power = powers[0].read_value(), powers[1].read_value()
    for variable, m, v, gradient in rows:
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=lr,
            beta1=BETA_1,
            beta2=BETA_2,
            epsilon=EPSILON,
            grad=gradient,
        )
    # After all variables, which step with the powers of this step.
    powers[0].assign(powers[0] * BETA_1)
    powers[1].assign(powers[1] * BETA_2)
