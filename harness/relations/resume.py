"""A run that was cut continues as if it had not been."""

from typing import Any

from harness.evidence.bundles import CheckpointPair, Resume
from harness.relations.base import Outcome, Violation, differences, outcome

__all__ = ["WALL_CLOCK", "checkpoint_restores_everything", "resume_is_exact"]

WALL_CLOCK = ("eval_seconds", "bn_recal_seconds", "checkpoint_digest")
"""Columns left out: two are wall-clock times, the third is absent without checkpoints."""


def resume_is_exact(evidence: Resume) -> Outcome:
    """Require equal state, draws, archs, learning rates and log rows after a resume."""
    cut = evidence.cut
    violations = differences(dict(evidence.straight), dict(evidence.resumed), what=f"{cut}:")
    if len(evidence.straight_steps) != len(evidence.resumed_steps):
        violations.append(
            Violation(f"{cut}: steps after the cut", str(len(evidence.straight_steps)),
                      str(len(evidence.resumed_steps)))
        )  # fmt: skip
    for whole, resumed in zip(evidence.straight_steps, evidence.resumed_steps, strict=False):
        if whole != resumed:
            violations.append(Violation(f"{cut}: step record", str(whole), str(resumed)))
            break
    if len(evidence.straight_rows) != len(evidence.resumed_rows):
        violations.append(
            Violation(
                f"{cut}: epoch rows after the cut",
                str(len(evidence.straight_rows)),
                str(len(evidence.resumed_rows)),
            )
        )
    for row, again in zip(evidence.straight_rows, evidence.resumed_rows, strict=False):
        violations += differences(
            _without_clock(row), _without_clock(again), what=f"{cut}: epoch {row['epoch']}, column"
        )
    figures = (
        f"{cut}: {len(evidence.straight)} arrays and {len(evidence.straight_steps)} steps equal "
        "in a fresh process"
    )
    return outcome(violations[:8], len(evidence.straight_steps), figures)


def _without_clock(row: Any) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in WALL_CLOCK}


def checkpoint_restores_everything(evidence: CheckpointPair) -> Outcome:
    """Require every array back after the state was poisoned and a checkpoint restored."""
    violations = differences(dict(evidence.saved), dict(evidence.restored), what="after restoring:")
    untouched = [
        name for name, digest in evidence.saved.items() if evidence.disturbed.get(name) == digest
    ]
    poisoned = len(evidence.saved) - len(untouched)
    figures = f"{poisoned} of {len(evidence.saved)} arrays poisoned, all restored"
    if untouched and any(not name.startswith("progress/") for name in untouched):
        weights = [name for name in untouched if not name.startswith("progress/")]
        violations.append(Violation("poisoned arrays", "all but the counters", str(weights[:3])))
    return outcome(violations, poisoned, figures)
