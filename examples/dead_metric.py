"""The supernet's own trainer with the bug that it was made for: the metric is dead.

harness gate --system examples/dead_metric.py:DeadMetric --tier smoke
"""

from harness.config import Config
from harness.environment import apply_environment
from harness.faults.base import replaced

apply_environment(Config())  # before TensorFlow, which the trainer imports

from harness.runs.parts import Parts  # noqa: E402
from harness.systems.builtin import BuiltinSystem  # noqa: E402


def last_residual(outputs):
    """Return the residual flow of the finest scale, where the sum over scales belongs, px."""
    return outputs[-1][..., :2]


class DeadMetric(BuiltinSystem):
    """Trains soundly, and scores the residual alone."""

    def __init__(self):
        """Put one other function in the place of the evaluation's sum."""
        super().__init__(replaced(Parts(), "evaluation", accumulate_flow=last_residual))
