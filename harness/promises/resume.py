"""A run that was cut or killed continues as if it had not been."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harness.promises.bench import Bench
from harness.promises.continued import WALL_CLOCK, Row, row_differences, step_differences
from harness.promises.kinds import COUNTERS, kinds_of, state_differences
from harness.promises.promise import Digests, Outcome, Promise, Violation, needs, outcome
from harness.promises.second_process import (
    CutRun,
    cut_after_epoch,
    cut_before_evaluation,
    cut_mid_epoch,
    require_cuts_within,
    resumed_run,
)
from harness.promises.states import START, Cut, saved_cut
from harness.systems.beside import Beside
from harness.systems.protocol import System

__all__ = [
    "RESUME_ANYWHERE", "RESUME_BEFORE_EVALUATION", "RESUME_EXACT", "RESUME_MID_EPOCH", "WALL_CLOCK",
    "Resume", "every_resume_is_exact", "resume", "resume_anywhere", "resume_before_evaluation",
    "resume_is_exact", "resume_mid_epoch",
]  # fmt: skip


@dataclass(frozen=True)
class Resume:
    """A straight run, and one that was cut and restored in a fresh process.

    Attributes
    ----------
    cut : str
        Where.
    saved, restored : mapping
        Digests of the state when it was saved at the cut, and right after it was restored.
    straight, resumed : mapping
        The same at the end of both runs.
    straight_steps, resumed_steps, straight_rows, resumed_rows : tuple of mapping
        Records after the cut, by field.
    first_epoch : tuple of mapping
        Steps of epoch 1, which a run that starts its draws anew repeats.
    kinds : mapping of str to str
        Kind of each array.
    known : mapping of str to mapping
        States of the straight run, by the words that say which.
    refused : str
        Why the run did not go on in a fresh process; empty if it did.
    """

    cut: str
    saved: Digests
    restored: Digests
    straight: Digests
    resumed: Digests
    straight_steps: tuple[Row, ...]
    resumed_steps: tuple[Row, ...]
    straight_rows: tuple[Row, ...]
    resumed_rows: tuple[Row, ...]
    first_epoch: tuple[Row, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Digests] = field(default_factory=dict)
    refused: str = ""


@needs("train", "save", "restore", "state")
def resume(bench: Bench) -> Resume:
    """Hold the straight second epoch against one resumed in a fresh process."""
    done = len(bench.trained.first.steps)
    return _beside_straight(bench, bench.evidence(cut_after_epoch), done=done, rows=1)


@needs("train", "save", "restore", "state", says=("supports: steps",))
def resume_mid_epoch(bench: Bench) -> Resume:
    """Hold the straight run against one resumed after the first step of epoch 1."""
    return _beside_straight(bench, bench.evidence(cut_mid_epoch), done=1, rows=0)


@needs("train", "save", "restore", "state", says=("supports: steps",))
def resume_before_evaluation(bench: Bench) -> Resume:
    """Hold the straight run against one resumed after the last batch, before the evaluation."""
    done = len(bench.trained.first.steps)
    return _beside_straight(bench, bench.evidence(cut_before_evaluation), done=done, rows=0)


@needs("train", "save", "restore", "state", says=("supports: steps",))
def resume_anywhere(bench: Bench) -> list[Resume]:
    """Cut after every step and at every epoch's end; resume each in a process of its own."""
    require_cuts_within(bench)
    with bench.at(START) as system:
        cuts = list(_cut_everywhere(bench, system))
    found = []
    for first in range(0, len(cuts), _AT_A_TIME):
        with ExitStack() as processes:
            begun = [
                (_resumed_alone(bench, cut, processes), done, rows)
                for cut, done, rows in cuts[first : first + _AT_A_TIME]
            ]
            found += [
                _beside_straight(bench, run, done=done, rows=rows) for run, done, rows in begun
            ]
    return found


def _resumed_alone(bench: Bench, cut: Cut, processes: ExitStack) -> CutRun:
    """Let a run be resumed in a process of its own, or in one that is kept for many benches."""
    process = processes.enter_context(closing(Beside(bench.spec, bench.config, bench.process)))
    return CutRun(cut, process.submit(resumed_run(bench.config, cut.path)))


_AT_A_TIME = 2
"""Processes that resume beside each other."""


def _cut_everywhere(bench: Bench, system: System) -> Iterator[tuple[Cut, int, int]]:
    """Train two epochs, cut after every step; give each cut, steps done and rows before it."""
    trained = bench.trained
    steps = len(trained.first.steps)
    last = 2 * steps if trained.second.epochs else 2 * steps - 1  # a row, or else a step, is left
    for done in range(1, last + 1):
        epoch, step = (done - 1) // steps, (done - 1) % steps + 1
        system.train(epoch + 1, steps=1)
        how = f"cut after step {step} of epoch {epoch + 1}"
        yield saved_cut(system, bench.trained, f"anywhere-{done}", how), done, epoch
        if step == steps and epoch == 0:  # after the last epoch nothing is left to compare
            # The evaluation that train(steps=) left due.
            system.train(epoch + 1)
            how = f"cut after epoch {epoch + 1}"
            yield saved_cut(system, bench.trained, f"anywhere-{done}-end", how), done, epoch + 1


def _beside_straight(bench: Bench, run: CutRun, *, done: int, rows: int) -> Resume:
    """Return the straight run beside a resumed one.

    Parameters
    ----------
    done, rows : int
        Steps and epoch rows that lie before the cut.
    """
    trained, cut, again = bench.trained, run.cut, run.resumed.result()
    if again.refused:
        return Resume(cut.how, {}, {}, {}, {}, (), (), (), (), refused=again.refused)
    steps = (*trained.first.steps, *trained.second.steps)[done:]
    epochs = (*trained.first.epochs, *trained.second.epochs)[rows:]
    return Resume(
        cut.how, cut.state, again.at_cut, trained.end_state, again.at_end,
        _as_rows(steps), _as_rows(again.training.steps),
        _as_rows(epochs), _as_rows(again.training.epochs),
        first_epoch=_as_rows(trained.first.steps),
        kinds=kinds_of(trained.end_state, trained.description),
        known={
            "as at the start of training": trained.start_state,
            "as after epoch 1": trained.cut_state,
        },
    )  # fmt: skip


def _as_rows(records: Sequence[Any]) -> tuple[Row, ...]:
    return tuple(dataclasses.asdict(record) for record in records)


def resume_is_exact(evidence: Resume) -> Outcome:
    """Require equal state, draws, archs, learning rates and log rows after a resume."""
    cut = evidence.cut
    if evidence.refused:
        refused = Violation(f"{cut}: the run in a fresh process", "goes on", evidence.refused)
        return outcome([refused], 1, "")
    unlike = partial(state_differences, kinds=evidence.kinds, known=evidence.known)
    violations = unlike(evidence.saved, evidence.restored, what=f"{cut}, restored", of="as saved")
    later = step_differences(
        evidence.straight_steps, evidence.resumed_steps, evidence.first_epoch, cut=cut
    )
    if not violations:  # else the end and its rows follow from what was not restored
        end = f"{cut}, at the end,"
        ends = unlike(evidence.straight, evidence.resumed, what=end, of="as without the cut")
        rows = row_differences(evidence.straight_rows, evidence.resumed_rows, cut=cut)
        later += _with_their_scores(ends, rows) + rows
        # What an incomplete checkpoint does not explain.
        later = [dataclasses.replace(v, kind=v.kind or "after the cut") for v in later]
    violations += later
    figures = (
        f"{cut}: {len(evidence.straight)} arrays and {len(evidence.straight_steps)} steps equal "
        "in a fresh process"
    )
    after_the_cut = len(evidence.straight_steps) + len(evidence.straight_rows)
    nothing = "no training step (Training.steps) and no epoch row after the cut"
    return outcome(violations[:_MOST], after_the_cut, figures, without=nothing)


def _with_their_scores(ends: Sequence[Violation], rows: Sequence[Violation]) -> list[Violation]:
    """Return differences at the end; of scores, where scores are all that the rows differ in.

    A best metric and a ranking are kept from evaluations: they are not what was not restored.
    """
    scores = bool(rows) and all(row.kind == "other scores" for row in rows)
    moved = scores and all(end.kind == COUNTERS for end in ends)
    return [dataclasses.replace(end, kind="other scores") if moved else end for end in ends]


_MOST = 6


_HINT = (
    "Something that determines the next step, or the next row of the log, is not in the checkpoint."
)


RESUME_EXACT = Promise(
    id="resume-exact",
    sentence="a run cut at an epoch boundary continues bit-identically",
    evidence=resume,
    check=resume_is_exact,
    hint=_HINT,
    explained_by=("same-scores-again", "epoch-rows-add-up"),
)


RESUME_MID_EPOCH = Promise(
    id="resume-mid-epoch",
    sentence="a run cut within an epoch continues bit-identically",
    evidence=resume_mid_epoch,
    check=resume_is_exact,
    hint=_HINT,
    explained_by=("resume-exact", "checkpoint-complete"),
    varied=True,
)


RESUME_BEFORE_EVALUATION = Promise(
    id="resume-before-evaluation",
    sentence="a run cut after an epoch's last batch continues with the evaluation that is due",
    evidence=resume_before_evaluation,
    check=resume_is_exact,
    hint=_HINT,
    explained_by=("resume-exact", "checkpoint-complete", "resume-mid-epoch"),
)


def every_resume_is_exact(evidence: Sequence[Resume]) -> Outcome:
    """Require the same of a run cut at many places, each resumed in a process of its own."""
    found = [resume_is_exact(one) for one in evidence]
    violations = [violation for one in found for violation in one.violations]
    figures = f"{len(evidence)} cuts, each resumed in a process of its own: all equal"
    unseen = next((one.unseen for one in found if one.unseen), "")
    return outcome(violations[:_MOST], len(evidence), figures, unseen=unseen)


RESUME_ANYWHERE = Promise(
    id="resume-anywhere",
    sentence="a run cut after any step of two epochs continues bit-identically",
    evidence=resume_anywhere,
    check=every_resume_is_exact,
    hint=_HINT,
    tier="full",
    explained_by=("resume-exact", "resume-mid-epoch"),
)
