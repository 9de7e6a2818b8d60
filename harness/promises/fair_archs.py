"""Each option trained equally often: the archs of each step cover every block's options once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from harness.archs import Space
from harness.promises.arch_codes import cycle_orders, options_per_block
from harness.promises.bench import Bench
from harness.promises.ledger.plan import is_logged, require_fair_space, unfair_blocks
from harness.promises.promise import (
    COINCIDENCE,
    Outcome,
    Violation,
    needs,
    outcome,
    require_seen,
)
from harness.promises.recorded_run import both_epochs
from harness.records.records import StepRecord
from harness.systems.protocol import Training
from harness.wording import counted

__all__ = ["CodedTraining", "archs_are_fair", "whole_run"]


_Place = tuple[int, str | int]
"""A block and its option: a digit of the code, or a number of a space."""


@dataclass(frozen=True)
class CodedTraining(Training):
    """A training whose archs are codes of a space that the system declares."""

    space: Space = field(default_factory=Space)


@needs("train", says=("arch codes",))
def whole_run(bench: Bench) -> Training:
    """Return both epochs of the trained system, whose archs are codes of options."""
    run, about = both_epochs(bench), bench.trained.description
    told = any(step.archs for step in run.steps) or not run.steps
    require_seen(told, "steps do not tell the archs that they train (Training.steps)")
    space = options_per_block(about.options)
    require_fair_space(space, (arch for step in run.steps for arch in step.archs), about.space)
    if about.space is None:
        return run
    return CodedTraining(**{f.name: getattr(run, f.name) for f in fields(run)}, space=about.space)


def archs_are_fair(evidence: Training) -> Outcome:
    """Require each step's three archs to cover every option of every block once."""
    declared = evidence.space if isinstance(evidence, CodedTraining) else None
    violations, counts = list[Violation](), Counter[_Place]()
    for step in evidence.steps:
        violations += _unfair_digits(step) if declared is None else unfair_blocks(step, declared)
        counts.update(_options_trained(step, declared))
    gap = max(counts.values()) - min(counts.values()) if counts else 0
    violations += [
        Violation(
            f"epoch {row.epoch}, fairness_gap", "0", f"{row.fairness_gap} reported, {gap} counted"
        )
        for row in evidence.epochs
        if (row.fairness_gap != 0 and is_logged(row, "fairness_gap")) or gap != 0
    ]
    blocks = max((block for block, _ in counts), default=-1) + 1
    orders = cycle_orders((3,) * blocks if declared is None else declared)
    violations += _drawn_again(evidence.steps, orders)
    different = counted(len({step.archs for step in evidence.steps}), "different cycle")
    figures = f"{counted(len(evidence.steps), 'step')}, {different}, gap {gap}"
    nothing = "no training step was recorded (Training.steps)"
    return outcome(violations[:6], len(evidence.steps), figures, without=nothing)


def _of_one_length(step: StepRecord) -> bool:
    return len({len(arch) for arch in step.archs}) <= 1


def _unfair_digits(step: StepRecord) -> list[Violation]:
    """Return the blocks of a step whose options, a digit for each, are not 0, 1 and 2 once each."""
    where = f"epoch {step.epoch}, step {step.step}"
    if not _of_one_length(step):
        return [Violation(f"{where}, archs", "codes of one length", str(step.archs))]
    return [
        Violation(f"{where}, block {block}", "options 0, 1, 2 once each", str(options))
        for block, options in enumerate(zip(*step.archs, strict=True))
        if sorted(options) != ["0", "1", "2"]
    ]


def _options_trained(step: StepRecord, space: Space | None) -> list[_Place]:
    """Return block and option of each that a step trains, once for each arch that has it."""
    if space is not None:
        return [place for arch in step.archs for place in enumerate(space.read(arch) or ())]
    return [p for arch in step.archs for p in enumerate(arch)] if _of_one_length(step) else []


def _drawn_again(steps: Sequence[StepRecord], orders: int) -> list[Violation]:
    """Return fair cycles that are those of the epoch before, or the same in every step.

    ``orders`` are those that one cycle may have: of few of them chance draws some again.
    """
    by_epoch: dict[int, list[tuple[str, ...]]] = {}
    for step in steps:
        by_epoch.setdefault(step.epoch, []).append(step.archs)
    found = [
        Violation(f"fair cycles of epoch {e}", f"others than in epoch {e - 1}", "the same")
        for e, cycles in by_epoch.items()
        if by_epoch.get(e - 1) == cycles and orders ** len(cycles) >= COINCIDENCE
    ]
    different = {step.archs for step in steps}
    if len(different) == 1 and orders ** (len(steps) - 1) >= COINCIDENCE:
        found.append(Violation("fair cycles", "different from step to step", "all the same"))
    return found
