"""Promise of a ledger about the record that opens an attempt: it follows from what lies beside it.

The configuration in the record, the plan that it makes, the digests of the samples, and what the
evaluations scored.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any

from harness.comparing import changes
from harness.config import ConfigError
from harness.errors import NotApplicableError
from harness.promises.arch_codes import archs_per_step
from harness.promises.ledger.plan import MOST, planned_checks
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.records.records import RunRecord
from harness.records.run import RunEvidence
from harness.records.seals import seal_of
from harness.runs.identity import recorded_identities
from harness.wording import counted

__all__ = ["opening_follows"]

Sizes = tuple[tuple[int, int], ...]


def opening_follows(run: RunEvidence) -> Outcome:
    """Require plan, sizes, counts and digests of each opening as its own configuration says."""
    openings = [one for one in run.openings if one is not run.beside]
    if not openings:
        msg = "not enough evidence: no record opens the run"
        raise NotApplicableError(msg)
    violations, warnings, seals = list(_attempts(openings)), list[str](), 0
    for one in openings:
        violations += [*_plan(run, one), *_counts(run, one)]
        said, unknown = _identities(one)
        violations += said
        warnings += [f"opening of attempt {one.attempt}: {unknown}"] if unknown else []
        seals += bool(one.seal)
    first = openings[0]
    figures = (
        f"{counted(len(openings), 'opening')} recomputed, {seals} sealed: "
        f"{counted(sum(count for _, count in first.planned_sizes), 'step')} an epoch, "
        f"{first.train_samples} training and {counted(first.val_samples, 'validation sample')}"
    )
    return outcome(
        violations[:MOST], len(run.steps), figures, tuple(warnings),
        without="no step was recorded",
    )  # fmt: skip


LEDGER_OPENING_FOLLOWS = Promise(
    id="ledger-opening-follows",
    sentence="what a run's first line announces follows from the configuration in it",
    check=opening_follows,
    hint=(
        "The first line was written from other values than those that were trained with, or was "
        "changed later: what is read off it (plan, identity, counts) is of another run."
    ),
)


def _attempts(openings: list[RunRecord]) -> Iterator[Violation]:
    for before, one in pairwise(openings):
        if one.attempt <= before.attempt:
            where = f"attempt number of the opening after attempt {before.attempt}"
            yield Violation(where, f"more than {before.attempt}", str(one.attempt))


def _plan(run: RunEvidence, one: RunRecord) -> Iterator[Violation]:
    train = one.config["train"]
    sizes = _planned(train, one.train_samples)
    archs = archs_per_step(run.steps) if run.steps else 3
    expected = {
        "batch_size": train["batch_size"],
        "micro_batch_size": train.get("micro_batch_size") or train["batch_size"],
        "planned_sizes": sizes,
        # By size: an epoch has as many steps as its first line says, which may be anything.
        "expected_clip_checks": sum(
            count * sum(planned_checks(one.config, [size], archs=archs)) for size, count in sizes
        ),
    }
    for name, value in expected.items():
        found = getattr(one, name)
        if (_joined(found) if name == "planned_sizes" else found) != value:
            yield _violation(one, name, f"{value}, by its configuration", found)


def _planned(train: Mapping[str, Any], samples: int) -> Sizes:
    """Return (size, count) of the batches of one epoch, by the plan and the number of samples."""
    size = int(train["batch_size"])
    if train.get("epoch_mode") != "full_pass":
        return ((size, int(train["steps_per_epoch"])),)
    whole, rest = divmod(samples, size)
    return tuple((s, n) for s, n in ((size, whole), (rest, 1)) if s and n)


def _joined(sizes: Sizes) -> Sizes:
    """Return (size, count) pairs of which no two neighbours have one size."""
    runs = groupby(sizes, key=lambda pair: pair[0])
    return tuple((size, sum(count for _, count in run)) for size, run in runs)


def _counts(run: RunEvidence, one: RunRecord) -> Iterator[Violation]:
    first = run.openings[0]
    if run.beside is not None:
        told, by = [("train", run.beside), ("val", run.beside)], "as the data set has"
    else:
        # Of one list of samples; earlier versions do not say which list it was.
        before = [*(run.before.openings[-1:] if run.before else ()), first]
        told = [
            (split, old)
            for old in before
            for split in ("train", "val")
            if split in one.data and old.data.get(split) == one.data[split]
        ]
        by = "as in the attempt before, of the same list"
    if run.beside is not None:
        yield from _asked(one, run.beside)
    for split, old in told:
        name = f"{split}_samples"
        if getattr(one, name) != getattr(old, name):
            yield _violation(one, name, f"{getattr(old, name)}, {by}", getattr(one, name))
    scored = _scored(run, one) if one is first else None
    if scored is not None:
        yield scored


def _asked(one: RunRecord, beside: RunRecord) -> Iterator[Violation]:
    """Yield where configuration or samples are not those that were asked for."""
    for change in changes(beside.config, one.config):
        yield _violation(one, change.key, f"{change.old}, as asked for", change.new)
    for split, digest in beside.data.items():
        if one.data.get(split) != digest:
            expected = f"{digest}, of the ids that are listed"
            yield _violation(one, f"samples of {split}", expected, one.data.get(split, "nothing"))


def _scored(run: RunEvidence, one: RunRecord) -> Violation | None:
    """Return where an evaluation scored another number of samples than the split has for it."""
    evaluation = one.config["eval"]
    asked = evaluation.get("eval_batches_per_arch")
    size = evaluation.get("batch_size") or one.config["train"]["batch_size"]
    # A frozen artifact has samples of its own.
    if evaluation.get("frozen") or asked is None:
        return None
    most = one.val_samples if asked == "full" else asked * size
    for record in run.evals:
        if record.epoch and record.samples != min(one.val_samples, most):
            found = f"{one.val_samples}, of which {min(one.val_samples, most)} would be scored"
            expected = f"as many as give {record.samples}, as scored after epoch {record.epoch}"
            return _violation(one, "val_samples", expected, found)
    return None


def _identities(one: RunRecord) -> tuple[list[Violation], str]:
    """Return violations of digests, and why some could not be computed again."""
    found = []
    if one.seal and one.seal != seal_of(one):
        expected = f"{one.seal}, its seal"
        found.append(_violation(one, "digest of what it says", expected, seal_of(one)))
    # Earlier versions name no protocol, and computed the identity otherwise.
    if not (one.protocol or one.seal):
        return found, ""
    try:
        identity, protocol = recorded_identities(one.config, one.data)
    except ConfigError as error:
        return found, f"identity not computed again: {error}"
    for name, value in (("identity", identity), ("protocol", protocol)):
        if getattr(one, name) != value:
            text = f"{value}, by its configuration and its samples"
            found.append(_violation(one, name, text, getattr(one, name)))
    return found, ""


def _violation(one: RunRecord, name: str, expected: str, found: Any) -> Violation:
    return Violation(f"opening of attempt {one.attempt}, {name}", expected, str(found) or "nothing")
