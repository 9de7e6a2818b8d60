"""A run that was cut continues as if it had not been."""

from collections.abc import Sequence
from typing import Any

from harness.evidence.bundles import CheckpointPair, KilledRuns, Resume
from harness.relations.base import Outcome, Violation, differences, outcome

__all__ = [
    "KILLS",
    "WALL_CLOCK",
    "checkpoint_restores_everything",
    "every_resume_is_exact",
    "kills_do_no_harm",
    "resume_is_exact",
]

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
    after_the_cut = len(evidence.straight_steps) + len(evidence.straight_rows)
    return outcome(violations[:8], after_the_cut, figures)


def every_resume_is_exact(evidence: Sequence[Resume]) -> Outcome:
    """Require the same of a run cut at many places, each resumed in a process of its own."""
    found = [resume_is_exact(one) for one in evidence]
    violations = [violation for one in found for violation in one.violations]
    figures = f"{len(evidence)} cuts, each resumed in a process of its own: all equal"
    return outcome(violations[:8], len(evidence), figures)


KILLS = 20
"""Kills at random moments that make enough evidence."""


def kills_do_no_harm(evidence: KilledRuns) -> Outcome:
    """Require runs that were killed again and again to end as the straight run does.

    And every checkpoint that stands under its own name to be whole.
    """
    violations = [
        Violation("checkpoint left by a kill", "whole, or not there under its name", text)
        for text in evidence.refused
    ]
    for number, end in enumerate(evidence.ends, start=1):
        violations += differences(dict(evidence.straight), dict(end), what=f"killed run {number}:")
    if evidence.kills < KILLS:
        violations.append(Violation("kills", f"at least {KILLS}", str(evidence.kills)))
    figures = f"{evidence.kills} kills in {len(evidence.ends)} runs, all end as the straight one"
    looked_at = min(len(evidence.ends), len(evidence.straight))
    return outcome(violations[:8], looked_at, figures)


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
