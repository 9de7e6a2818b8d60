"""The evaluator outside of training: a checkpoint has one score, whoever asks and in what company.

Each call is made while the open system holds other weights than the checkpoint, so that nothing
of it can stand in for what was saved.
"""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.digest import digest_file
from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.promise import (
    Digests,
    Outcome,
    Promise,
    Violation,
    differences,
    grouped_differences,
    needs,
    outcome,
    require_seen,
)
from harness.promises.refusals import attempted
from harness.promises.same_scores import Repeat, same_scores
from harness.promises.scores import base_evaluation
from harness.promises.states import CUT, END, START
from harness.systems.protocol import Evaluation, digests_of
from harness.wording import counted

__all__ = [
    "BY_ITSELF", "OFFLINE_AGAIN", "OFFLINE_ALONE", "OFFLINE_AS_IN_TRAINING", "OFFLINE_PERMUTED",
    "OFFLINE_PURE", "OFFLINE_WORKERS", "WORKERS", "AloneOffline", "BothEvaluators", "OfflineCalls",
    "offline_calls", "offline_changes_nothing", "scores_alone", "scores_as_in_training",
]  # fmt: skip

WORKERS = 3
"""Among which pools of 4 and 5 archs, as a gate's are, are dealt out unevenly."""

BY_ITSELF = "by itself"
"""Kind of a breach: of an arch that is scored alone, to which nothing can have been carried."""

_CALLS = ("evaluate_offline", "train", "state", "save", "restore")

_HINT = (
    "The number depends on how the evaluator outside of training is called, and not on the "
    "checkpoint alone. Look for a cursor or moving statistics that go on from one arch to the "
    "next, and for a seed or a start that is a worker's own."
)


@dataclass(frozen=True)
class OfflineCalls:
    """A checkpoint evaluated offline twice, and what was there before and after.

    Attributes
    ----------
    first, again : Evaluation
    files, files_after : mapping of str to str
        Digest of each file of the checkpoint, by its path below the folder.
    state, state_after : mapping of str to str
        Digest of each array of the open system's state.
    """

    first: Evaluation
    again: Evaluation
    files: Digests
    files_after: Digests
    state: Digests
    state_after: Digests


@dataclass(frozen=True)
class BothEvaluators:
    """The trainer's evaluation of weights and the offline one: of one arch alone, of the pool.

    ``few`` is of one arch on its first batch alone, None of a system that has one number of them.
    """

    alone: Repeat
    pool: Repeat
    few: Repeat | None = None


@needs(*_CALLS)
def offline_calls(bench: Bench) -> OfflineCalls:
    """Evaluate the last checkpoint offline twice, from a system that holds the first."""
    path = bench.trained.paths[END]
    with bench.at(START) as system:
        files, state = _files(path), digests_of(system)
        first, again = system.evaluate_offline(path), system.evaluate_offline(path)
        found = OfflineCalls(first, again, files, _files(path), state, digests_of(system))
    require_seen(first.archs, "no arch was scored offline")
    return found


def _files(path: str) -> dict[str, str]:
    folder = Path(path)
    found = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): digest_file(file) for file in found}


@needs(*_CALLS)
def offline_again(bench: Bench) -> Repeat:
    """Return both offline evaluations."""
    calls = bench.evidence(offline_calls)
    return Repeat(calls.first, calls.again, "evaluated offline again")


OFFLINE_AGAIN = Promise(
    id="offline-again",
    sentence="the evaluator outside of training scores a checkpoint the same again",
    evidence=offline_again,
    check=same_scores,
    hint=_HINT,
    explained_by=("same-scores-again",),
)


def _base(bench: Bench) -> Evaluation:
    """Return the offline evaluation that others are held against, of two archs or more."""
    first = bench.evidence(offline_calls).first
    if len(first.archs) < 2:
        msg = "the pool is one arch, which has no order, no part and no second worker"
        raise NotApplicableError(msg)
    return first


@needs(*_CALLS)
def offline_permuted(bench: Bench) -> Repeat:
    """Evaluate the pool offline in reversed order."""
    base, path = _base(bench), bench.trained.paths[END]
    with bench.at(START) as system:
        again = system.evaluate_offline(path, tuple(reversed(base.archs)))
    return Repeat(base, again, "offline, pool reversed")


OFFLINE_PERMUTED = Promise(
    id="offline-permuted",
    sentence="outside of training too, no arch's score depends on those that were scored before",
    evidence=offline_permuted,
    check=same_scores,
    hint=_HINT,
    explained_by=("same-scores-permuted",),
    blocked_by=("offline-again",),
)


@dataclass(frozen=True)
class AloneOffline:
    """One arch scored by itself, beside its pool, and where another checkpoint was scored before.

    ``replaced`` is None of a system that evaluates no copy of a checkpoint.
    """

    alone: Repeat
    replaced: Repeat | None = None


@needs(*_CALLS)
def offline_alone(bench: Bench) -> AloneOffline:
    """Evaluate the last arch of the pool alone: to the first nothing can have been carried.

    Then put a copy of that checkpoint where a copy of an earlier one was evaluated before.
    """
    base, path = _base(bench), bench.trained.paths[END]
    place, arch = bench.folder / "replaced", base.archs[-1:]
    with bench.at(START) as system:
        again = system.evaluate_offline(path, arch)
        alone = Repeat(base, again, "offline, one arch alone")
        found = list[Evaluation]()
        for copied in (bench.trained.paths[CUT], path):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(copied, place)
            error, _ = attempted(lambda: found.append(system.evaluate_offline(str(place), arch)))
            if error is not None:
                return AloneOffline(alone)
    how = "offline, a checkpoint in the place of another one"
    return AloneOffline(alone, Repeat(again, found[-1], how))


def scores_alone(evidence: AloneOffline) -> Outcome:
    """Require equal scores of an arch alone, and of a checkpoint wherever it lies."""
    alone = same_scores(evidence.alone)
    if alone.violations or alone.unseen or evidence.replaced is None:
        return alone
    replaced = same_scores(evidence.replaced)
    return replaced if replaced.violations else alone


OFFLINE_ALONE = Promise(
    id="offline-alone",
    sentence="outside of training too, an arch scores alone as in company",
    evidence=offline_alone,
    check=scores_alone,
    hint=f"{_HINT} Or results are kept by a checkpoint's path, and not by what is in it.",
    explained_by=("offline-permuted", "same-scores-subset"),
    blocked_by=("offline-again",),
)


@needs(*_CALLS)
def offline_workers(bench: Bench) -> Repeat:
    """Evaluate the pool offline, dealt out among several workers."""
    base, path = _base(bench), bench.trained.paths[END]
    with bench.at(START) as system:
        again = system.evaluate_offline(path, workers=WORKERS)
    return Repeat(base, again, f"offline, {WORKERS} workers in place of 1")


OFFLINE_WORKERS = Promise(
    id="offline-workers",
    sentence="the score of a checkpoint does not depend on the number of workers that score it",
    evidence=offline_workers,
    check=same_scores,
    hint=_HINT,
    explained_by=("offline-permuted", "offline-alone"),
    blocked_by=("offline-again",),
)


@needs(*_CALLS, "evaluate")
def both_evaluators(bench: Bench) -> BothEvaluators:
    """Let both evaluators score the last checkpoint, and one arch of it alone."""
    if reason := bench.describe().offline_differs.strip():
        msg = f"the system declares that it scores otherwise outside of training: {reason}"
        raise NotApplicableError(msg)
    base, path = base_evaluation(bench), bench.trained.paths[END]
    arch = base.archs[-1:]
    asked = bench.settable("eval", {"eval_batches_per_arch": 1})
    with bench.at(END) as system:
        alone = system.evaluate(arch)
        few = system.evaluate(arch, batches_per_arch=1) if asked else alone
    with bench.at(START) as system:
        offline = system.evaluate_offline(path, arch)
        less = system.evaluate_offline(path, arch, batches_per_arch=1) if asked else offline
    # Of fewer batches the hash may still be that of all of them.
    hashes = {name: getattr(few, name) for name in ("eval_batch_hash", "bn_recal_batch_hash")}
    less = dataclasses.replace(less, **hashes)
    how = "offline in place of in training"
    pool = Repeat(base, bench.evidence(offline_calls).first, how)
    on_few = Repeat(few, less, f"{how}, one arch on one batch") if asked else None
    return BothEvaluators(Repeat(alone, offline, f"{how}, one arch alone"), pool, on_few)


def scores_as_in_training(evidence: BothEvaluators) -> Outcome:
    """Require equal scores of both evaluators: of an arch alone, of the pool, and on one batch."""
    # What differs alone is no matter of what one evaluator carries from arch to arch.
    alone = same_scores(evidence.alone)
    if alone.violations or alone.unseen:
        violations = tuple(dataclasses.replace(v, kind=BY_ITSELF) for v in alone.violations)
        return dataclasses.replace(alone, violations=violations)
    pool = same_scores(evidence.pool)
    if pool.violations or pool.unseen or evidence.few is None:
        return pool
    few = same_scores(evidence.few)
    return few if few.violations else pool


OFFLINE_AS_IN_TRAINING = Promise(
    id="offline-as-in-training",
    sentence="the same weights score outside of training as in it",
    evidence=both_evaluators,
    check=scores_as_in_training,
    hint=(
        "Two evaluators measure two things under one name: other batches, other statistics to "
        "normalise by, another metric, or other weights than those that were saved. Where that is "
        "meant, say it by offline_differs."
    ),
    explained_by=(
        "offline-permuted", "offline-alone", "same-scores-permuted", "same-scores-subset",
        "same-scores-fresh",
    ),
    blocked_by=("same-scores-again", "offline-again"),
)  # fmt: skip


def offline_changes_nothing(evidence: OfflineCalls) -> Outcome:
    """Require every file of the checkpoint, and the open system's state, as they were."""
    before, after = evidence.files, evidence.files_after
    # A file that is written beside them, as a result is, changes no checkpoint.
    kept = {name: digest for name, digest in after.items() if name in before}
    violations = _told(differences(before, kept, what="after an offline evaluation, file"))
    violations += grouped_differences(
        evidence.state, evidence.state_after, what="state after an offline evaluation,"
    )
    new = f"; written beside them: {', '.join(sorted(set(after) - set(before)))}"
    files, arrays = counted(len(before), "file"), counted(len(evidence.state), "array")
    figures = f"{files} of the checkpoint and {arrays} of the open system unchanged"
    figures += new * (len(after) > len(kept))
    return outcome(violations, min(len(before), len(evidence.state)), figures)


def _told(found: list[Violation]) -> list[Violation]:
    return [dataclasses.replace(violation, kind="files") for violation in found]


OFFLINE_PURE = Promise(
    id="offline-pure",
    sentence="an evaluation outside of training changes neither the checkpoint nor what is open",
    evidence=offline_calls,
    check=offline_changes_nothing,
    hint=(
        "The evaluator writes into the checkpoint that it reads, or shares variables, statistics "
        "or generators with the system that is open."
    ),
)
