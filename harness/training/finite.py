"""No NaN or Inf: scalars of the graph are checked each step, and the culprit is named."""

import numpy as np

from harness.training.model import Supernet
from harness.training.train_parts import StepOutcome

__all__ = ["NonFiniteError", "first_non_finite", "require_finite_outcome"]


class NonFiniteError(FloatingPointError):
    """A value is NaN or infinite; the message names it, the epoch and the step."""


def first_non_finite(model: Supernet) -> str | None:
    """Return the name of the first variable that is not finite, with its place and value."""
    for name, variable in model.variables().items():
        values = variable.numpy()
        if not np.isfinite(values).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            return f"{name}{list(place)} = {values[place]}"
    return None


def require_finite_outcome(outcome: StepOutcome, model: Supernet, epoch: int, step: int) -> None:
    """Stop if anything in a step is not finite.

    Raises
    ------
    NonFiniteError
        If a loss, a gradient norm or a variable is not finite.
    """
    found = _findings(outcome, model)
    if found:
        msg = f"epoch {epoch}, step {step}: not finite: {'; '.join(found)}"
        raise NonFiniteError(msg)


def _findings(outcome: StepOutcome, model: Supernet) -> list[str]:
    found = []
    for what, values in (
        ("loss of micro-batch", outcome.losses),
        ("gradient norm of clip check", [check.before for check in outcome.checks]),
    ):
        bad = [i for i, value in enumerate(values) if not np.isfinite(value)]
        if bad:
            found.append(f"{what} {bad[0] + 1} of {len(values)} = {values[bad[0]]}")
    # Only now, because every variable is read; each step looks at one number of all of them.
    if found or not outcome.finite:
        found.append(f"first variable {first_non_finite(model)}")
    return found
