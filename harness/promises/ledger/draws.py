"""Promises of a ledger about draws: fair cycles and training batches."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from harness.errors import NotApplicableError
from harness.promises.ledger.plan import (
    MOST,
    NEGLIGIBLE,
    finished_epochs,
    steps_by_epoch,
    unfair_blocks,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.records.run import RunEvidence
from harness.wording import counted, shortened

__all__ = ["draws_are_new", "fairness_is_kept"]


def fairness_is_kept(run: RunEvidence) -> Outcome:
    """Require each option of each block once in every step, and cycles that differ."""
    steps = steps_by_epoch(run)
    violations = [v for step in run.steps for v in unfair_blocks(step)][:MOST]
    counts: Counter[tuple[int, str]] = Counter()
    gaps: dict[int, int] = {}
    for epoch, made in steps.items():
        for step in made:
            counts.update(pair for arch in step.archs for pair in enumerate(arch))
        gaps[epoch] = _gap(counts)
    violations += [
        Violation(f"epoch {row.epoch}, fairness_gap", f"{gaps[row.epoch]} as counted, 0 if fair",
                  str(row.fairness_gap))
        for row in run.epochs
        if row.epoch in gaps and (row.fairness_gap != gaps[row.epoch] or gaps[row.epoch])
    ]  # fmt: skip
    blocks = max((len(arch) for step in run.steps for arch in step.archs), default=0)
    draws = {epoch: [step.archs for step in made] for epoch, made in steps.items()}
    # 6 orders of three options, for each block.
    violations += _repeats(draws, "fair cycles", math.log10(6) * blocks)
    cycles = len({step.archs for step in run.steps})
    figures = (
        f"{counted(len(run.steps), 'step')}, {counted(cycles, 'different cycle')}, "
        f"gap {_gap(counts)}"
    )
    return outcome(violations[:MOST], len(run.steps), figures)


LEDGER_FAIRNESS = Promise(
    id="ledger-fairness",
    sentence="every step trained each option once, in cycles that do not repeat",
    check=fairness_is_kept,
    hint="Strict fairness is broken, or its random stream does not depend on epoch and step.",
    explained_by=("fair-archs",),
)


def _gap(counts: Counter[tuple[int, str]]) -> int:
    blocks = {block for block, _ in counts}
    per_block = [[counts[block, option] for option in "012"] for block in blocks]
    return max((max(options) - min(options) for options in per_block), default=0)


def _repeats(draws: Mapping[int, Sequence[Hashable]], what: str, digits: float) -> list[Violation]:
    """Return draws that recur: within an epoch, or as an epoch's whole sequence.

    Parameters
    ----------
    digits : float
        Decimal logarithm of how many values one step's draw has; a recurrence that could be a
        coincidence is no violation.
    """
    found: list[Violation] = []
    seen: dict[tuple[Hashable, ...], int] = {}
    pairs = max(1, len(draws) ** 2 / 2)
    for epoch, values in draws.items():
        if len(set(values)) == 1 and _rare(pairs, digits * (len(values) - 1)):
            found.append(
                Violation(f"{what} of epoch {epoch}", "another in each step", "the same in all")
            )
        prefix = tuple(values)
        if prefix in seen and _rare(pairs, digits * len(values)):
            where = f"{what} of epoch {epoch}"
            found.append(Violation(where, f"others than in epoch {seen[prefix]}", "the same"))
        seen.setdefault(prefix, epoch)
    return found


def _rare(pairs: float, digits: float) -> bool:
    """Return whether `pairs` chances of one in 10**digits are negligible together."""
    return digits > math.log10(pairs / NEGLIGIBLE)


def draws_are_new(run: RunEvidence) -> Outcome:
    """Require other training batches in every epoch, and none that comes in all steps."""
    rows, steps = finished_epochs(run), steps_by_epoch(run)
    batches = {epoch: [step.batch for step in made] for epoch, made in steps.items()}
    full = run.config["train"].get("epoch_mode") == "full_pass"
    samples, distinct = sum(run.planned_sizes), len({step.batch for step in run.steps})
    # A full pass is one of samples! orders. Draws with replacement have at least two values per
    # sample, in a set of two or more.
    digits = math.lgamma(samples + 1) / math.log(10) if full else samples * math.log10(2)
    pairs = max(1, len(batches) ** 2 / 2)
    done = {row.epoch: batches.get(row.epoch, []) for row in rows}
    violations: list[Violation] = []
    if len(run.steps) > 1 and distinct == 1 and not (full and samples == 1):
        what = f"{shortened(run.steps[0].batch)} in all {len(run.steps)} steps"
        violations.append(Violation("training batches", "different from step to step", what))
    # The fewer samples, the likelier an honest shuffle repeats itself.
    elif _rare(pairs, digits):
        violations += _repeats(done, "training batches", digits / max(len(run.planned_sizes), 1))
    if full:
        violations += _twice_in_a_pass(batches)
    if not violations and (len(done) < 2 or not _rare(pairs, digits)):
        epochs = counted(len(done), "finished epoch")
        msg = f"not enough evidence: {epochs} of {counted(samples, 'sample')}"
        raise NotApplicableError(msg)
    figures = (
        f"{counted(distinct, 'different batch')} in {counted(len(run.steps), 'step')} of "
        f"{counted(len(batches), 'epoch')}"
    )
    return outcome(violations[:MOST], len(run.steps), figures)


LEDGER_DRAWS_NEW = Promise(
    id="ledger-draws-new",
    sentence="every epoch trained on other batches",
    check=draws_are_new,
    hint=(
        "The shuffle or the crop is seeded alike in every epoch: the model sees less data than "
        "there is."
    ),
    explained_by=("train-draws-declared",),
)


def _twice_in_a_pass(batches: Mapping[int, Sequence[str]]) -> list[Violation]:
    found = []
    for epoch, digests in batches.items():
        counts = Counter(digests)
        digest, times = counts.most_common(1)[0]
        if times > 1:
            where = f"epoch {epoch}, training batch {shortened(digest)}"
            found.append(Violation(where, "once in a full pass", f"{times} times"))
    return found
