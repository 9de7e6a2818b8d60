"""The archs that a step logs are those that it trains, in a partial step too."""

import math
from collections.abc import Iterator

from harness.errors import NotApplicableError
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.promises.walk import Turned, Walk, WalkedStep, walk
from harness.wording import counted

__all__ = ["LOGGED_ARCHS", "archs_are_those_logged"]

_SAME = 1e-5
"""Relative: by less may a loss move, of which the weight decay adds up the same squares in
another order; another kernel moves one by more than a thousand times that."""


def archs_are_those_logged(evidence: Walk) -> Outcome:
    """Require another kernel to move the losses of exactly the archs that are logged to run it.

    Raises
    ------
    NotApplicableError
        If no step could be repeated with other kernels.
    """
    turned = [(step, step.turned) for step in evidence.steps if step.turned is not None]
    if evidence.steps and not turned:
        reason = evidence.nudged or "a step's losses do not tell its archs apart"
        raise NotApplicableError(reason)
    violations = [v for step, found in turned for v in _other_archs(step, found)]
    seen = sum(len(found.archs) for _, found in turned)
    figures = f"{counted(len(turned), 'step')}, {counted(seen, 'loss')} of the archs logged"
    return outcome(violations[:6], seen, figures)


def _other_archs(step: WalkedStep, found: Turned) -> Iterator[Violation]:
    rows = zip(found.archs, found.runs, found.before, found.after, strict=True)
    for arch, runs, before, after in rows:
        # A loss that is no number any more has moved.
        moved = not math.isclose(before, after, rel_tol=_SAME)
        if moved != runs:
            kernels = f"{counted(len(found.kernels), 'kernel')} such as {found.kernels[0]}"
            expected = "another loss" if runs else f"{before:.7g} as before, it does not run them"
            yield Violation(
                f"{step.name}, logged arch {arch}, with others in place of {kernels}",
                expected, f"{after:.7g}: the step trains another arch than it logs", "archs",
            )  # fmt: skip


LOGGED_ARCHS = Promise(
    id="logged-archs-trained",
    sentence="the archs that a step logs are those that it trains, in a partial step too",
    evidence=walk,
    check=archs_are_those_logged,
    further=("options", "Training.losses"),
    hint=(
        "A step runs the archs of another one, or one arch for all of its turns: fairness is then "
        "that of the log alone, and some options may never be trained."
    ),
    explained_by=("loss-recomputed", "gradient-everywhere"),
    varied=True,
)
