"""A step from a state that a short run never reaches is one of its rule too."""

from collections.abc import Sequence

import numpy as np

from harness.promises.bench import Bench
from harness.promises.edge_steps import edge_steps
from harness.promises.far_weights import FarUpdate, update_differs
from harness.promises.promise import Outcome, Promise, needs, outcome
from harness.wording import counted

__all__ = ["FAR_UPDATES", "far_updates", "far_updates_follow_the_rule"]


@needs(
    "train", "state", "save", "restore", "predict", "batches", "describe", says=("slots", "heads")
)
def far_updates(bench: Bench) -> Sequence[FarUpdate]:
    """Return the steps of far weights: with huge second moments, and after them."""
    return bench.evidence(edge_steps).updates


def far_updates_follow_the_rule(evidence: Sequence[FarUpdate]) -> Outcome:
    """Require of far weights the rule's step, and of huge second moments that they fade."""
    violations = [v for update in evidence for v in update_differs(update)]
    most = max(
        (float(np.abs(w).max()) for u in evidence for w in u.moved.before.values()), default=0.0
    )
    raised = any(u.moved.rule.rule != "sgd" for u in evidence)
    figures = f"{counted(len(evidence), 'step')} of weights of up to {most:.3g}"
    figures += ", second moments fade" if raised else ""
    return outcome(violations[:6], len(evidence), figures)


FAR_UPDATES = Promise(
    id="far-updates-follow",
    sentence="far weights are moved as near ones are, and a huge second moment fades",
    evidence=far_updates,
    check=far_updates_follow_the_rule,
    hint=(
        "A bound or a memory that a short run never meets: weights are clamped after each update, "
        "or the optimizer divides by the largest second moment so far (AMSGrad)."
    ),
    explained_by=("update-is-adam", "every-update-is-adam"),
)
