"""Promises of a ledger about draws: fair cycles and training batches."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from harness.archs import Space
from harness.errors import NotApplicableError
from harness.promises.arch_codes import cycle_orders
from harness.promises.ledger.plan import (
    MOST,
    NEGLIGIBLE,
    finished_epochs,
    first_violations,
    is_logged,
    require_fair_space,
    steps_by_epoch,
    unfair_blocks,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.promises.sampling import shuffles
from harness.records.records import StepRecord
from harness.records.run import RunEvidence
from harness.wording import counted, shortened

__all__ = ["draws_are_new", "fairness_is_kept"]


def fairness_is_kept(run: RunEvidence) -> Outcome:
    """Require each option of each block once in every step, and cycles that differ."""
    steps = steps_by_epoch(run)
    codes = run.codes
    require_fair_space(run.space, (arch for step in run.steps for arch in step.archs), codes)
    unfair = [step for step in run.steps if unfair_blocks(step, codes)]
    violations = first_violations(v for step in unfair for v in unfair_blocks(step, codes))
    gaps = _gaps(steps, unfair, codes)
    violations += first_violations(
        Violation(f"epoch {row.epoch}, fairness_gap", f"{gaps[row.epoch]} as counted, 0 if fair",
                  str(row.fairness_gap))
        for row in run.epochs
        if row.epoch in gaps
        and (gaps[row.epoch] or (row.fairness_gap != 0 and is_logged(row, "fairness_gap")))
    )  # fmt: skip
    blocks = max((len(arch) for step in run.steps for arch in step.archs), default=0)
    draws = {epoch: [step.archs for step in made] for epoch, made in steps.items()}
    digits = math.log10(cycle_orders((3,) * blocks if codes is None else codes))
    violations += _repeats(draws, "fair cycles", digits)
    cycles = len({step.archs for step in run.steps})
    figures = (
        f"{counted(len(run.steps), 'step')}, {counted(cycles, 'different cycle')}, "
        f"gap {list(gaps.values())[-1] if gaps else 0}"
    )
    return outcome(violations[:MOST], len(run.steps), figures, without="no step was recorded")


LEDGER_FAIRNESS = Promise(
    id="ledger-fairness",
    sentence="every step trained each option once, in cycles that do not repeat",
    check=fairness_is_kept,
    hint="Strict fairness is broken, or its random stream does not depend on epoch and step.",
    explained_by=("fair-archs",),
)


def _gaps(
    steps: Mapping[int, Sequence[StepRecord]], unfair: list[StepRecord], codes: Space | None
) -> dict[int, int]:
    """Return how far options are apart after each epoch in the number of steps with them.

    A fair step has each option of each block once, which moves none away from the others.
    """
    counts: Counter[tuple[int, str | int]] = Counter()

    def options(arch: str) -> Sequence[str | int]:
        return arch if codes is None else codes.read(arch) or ()

    counted_apart, gaps, gap = {id(step) for step in unfair}, dict[int, int](), 0
    for epoch, made in steps.items():
        odd = [step for step in made if id(step) in counted_apart]
        for step in odd:
            counts.update(pair for arch in step.archs for pair in enumerate(options(arch)))
        gap = _gap(counts, codes) if odd else gap
        gaps[epoch] = gap
    return gaps


def _gap(counts: Counter[tuple[int, str | int]], codes: Space | None) -> int:
    blocks = {block for block, _ in counts}
    every: list[str | int] = [*"012"] if codes is None else [*range(codes.counts[0])]
    per_block = [[counts[block, option] for option in every] for block in blocks]
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
    train = run.config["train"]
    if not shuffles(train) and train.get("train_crop_mode") != "random":
        msg = f"train.train_sampling_mode {train['train_sampling_mode']!r} and no random crops"
        raise NotApplicableError(msg)
    rows, steps = finished_epochs(run), steps_by_epoch(run)
    batches = {epoch: [step.batch for step in made] for epoch, made in steps.items()}
    full = train.get("epoch_mode") == "full_pass"
    distinct, per_epoch = len({step.batch for step in run.steps}), max(len(run.planned_sizes), 1)
    samples, digits = _samples(run, full=full), _order_digits(run, full=full)
    pairs = max(1, len(batches) ** 2 / 2)
    done = {row.epoch: batches.get(row.epoch, []) for row in rows}
    violations: list[Violation] = []
    # One step may draw anything; it takes the others to tell that all draw the same.
    if distinct == 1 and _rare(1, digits * (len(run.steps) - 1) / per_epoch):
        what = f"{shortened(run.steps[0].batch)} in all {len(run.steps)} steps"
        violations.append(Violation("training batches", "different from step to step", what))
    # The fewer samples, the likelier an honest shuffle repeats itself.
    elif _rare(pairs, digits):
        violations += _repeats(done, "training batches", digits / per_epoch)
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
    return outcome(violations[:MOST], len(run.steps), figures, without="no step was recorded")


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


def _samples(run: RunEvidence, *, full: bool) -> int:
    """Return how many samples were drawn from, at least."""
    planned = sum(run.planned_sizes)
    if run.train_samples:
        # A last batch that is filled serves more than there are.
        return min(run.train_samples, planned) if full else run.train_samples
    return planned if full else 2


def _order_digits(run: RunEvidence, *, full: bool) -> float:
    """Return the decimal logarithm of how many orders of samples an epoch may have.

    A full pass is one of samples! orders; draws with replacement have as many values each as
    there are samples.
    """
    samples = _samples(run, full=full)
    if full:
        return math.lgamma(samples + 1) / math.log(10)
    return sum(run.planned_sizes) * math.log10(max(samples, 1))


def _twice_in_a_pass(batches: Mapping[int, Sequence[str]]) -> list[Violation]:
    found = []
    for epoch, digests in batches.items():
        counts = Counter(digests)
        digest, times = counts.most_common(1)[0]
        if times > 1:
            where = f"epoch {epoch}, training batch {shortened(digest)}"
            found.append(Violation(where, "once in a full pass", f"{times} times"))
    return found
