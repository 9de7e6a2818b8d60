"""A run that was cut or killed continues as if it had not been."""

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.bench import (
    BEFORE_EVALUATION,
    CUT,
    MID,
    START,
    Bench,
    Cut,
    resumed,
    saved_cut,
)
from harness.promises.promise import (
    Digests,
    Outcome,
    Promise,
    Violation,
    differences,
    needs,
    outcome,
)
from harness.streams import integer
from harness.systems.fresh import Call, FreshCalls, FreshProcessError, start_fresh
from harness.systems.protocol import System

__all__ = [
    "KILLS",
    "RESUME_AFTER_KILL",
    "RESUME_ANYWHERE",
    "RESUME_BEFORE_EVALUATION",
    "RESUME_EXACT",
    "RESUME_MID_EPOCH",
    "WALL_CLOCK",
    "KilledRuns",
    "Resume",
    "every_resume_is_exact",
    "fresh_results",
    "killed",
    "kills_do_no_harm",
    "resume",
    "resume_anywhere",
    "resume_before_evaluation",
    "resume_is_exact",
    "resume_mid_epoch",
]


@dataclass(frozen=True)
class Resume:
    """State and records of a straight run and of one cut, restored in a fresh process."""

    cut: str
    straight: Digests
    resumed: Digests
    straight_steps: tuple[tuple[object, ...], ...]
    resumed_steps: tuple[tuple[object, ...], ...]
    straight_rows: tuple[Mapping[str, Any], ...]
    resumed_rows: tuple[Mapping[str, Any], ...]


@needs("train", "save", "restore", "state")
def resume(bench: Bench) -> Resume:
    """Hold the straight second epoch against one resumed in a fresh process."""
    trained, answers = bench.trained, fresh_results(bench)["boundary"]
    cut = Cut("", "cut after epoch 1", trained.paths[CUT], trained.cut_state)
    return _held(bench, cut, answers, done=len(trained.first.steps), rows=1)


@needs("train", "save", "restore", "state")
def resume_mid_epoch(bench: Bench) -> Resume:
    """Hold the straight run against one resumed after the first step of epoch 2."""
    answers, cut = _within(bench, MID)
    return _held(bench, cut, answers, done=len(bench.trained.first.steps) + 1, rows=1)


@needs("train", "save", "restore", "state")
def resume_before_evaluation(bench: Bench) -> Resume:
    """Hold the straight run against one resumed after the last batch, before the evaluation."""
    answers, cut = _within(bench, BEFORE_EVALUATION)
    return _held(bench, cut, answers, done=len(bench.trained.first.steps), rows=0)


def _require_steps(bench: Bench) -> None:
    if "steps" not in bench.trained.description.supports:
        msg = "the system does not stop within an epoch (train(steps=N))"
        raise NotApplicableError(msg)


def _within(bench: Bench, name: str) -> tuple[Sequence[Any], Cut]:
    _require_steps(bench)
    return fresh_results(bench)[name], bench.cut(name)


@needs("train", "save", "restore", "state")
def resume_anywhere(bench: Bench) -> list[Resume]:
    """Cut after every step and at every epoch's end; resume each in a process of its own."""
    _require_steps(bench)
    with bench.at(START) as system:
        cuts = list(_cut_everywhere(bench, system))
    found = []
    for first in range(0, len(cuts), _BESIDE):
        some = cuts[first : first + _BESIDE]
        started = [
            start_fresh(
                bench.spec, bench.config, resumed(cut.path), bench.folder / f"fresh-{cut.name}"
            )
            for cut, _, _ in some
        ]
        for (cut, done, rows), pending in zip(some, started, strict=True):
            found.append(_held(bench, cut, pending.results(), done=done, rows=rows))
    return found


_BESIDE = 2
"""Fresh processes at a time."""


def _cut_everywhere(bench: Bench, system: System) -> Iterator[tuple[Cut, int, int]]:
    """Train two epochs, cut after every step; give each cut, steps done and rows before it."""
    trained = bench.trained
    steps = len(trained.first.steps)
    last = 2 * steps if trained.second.epochs else 2 * steps - 1  # a row, or else a step, is left
    for done in range(1, last + 1):
        epoch, step = (done - 1) // steps, (done - 1) % steps + 1
        system.train(epoch + 1, steps=1)
        how = f"cut after step {step} of epoch {epoch + 1}"
        yield saved_cut(bench, system, f"anywhere-{done}", how), done, epoch
        if step == steps and epoch == 0:  # after the last epoch nothing is left to compare
            system.train(epoch + 1)
            how = f"cut after epoch {epoch + 1}"
            yield saved_cut(bench, system, f"anywhere-{done}-end", how), done, epoch + 1


def _held(bench: Bench, cut: Cut, answers: Sequence[Any], *, done: int, rows: int) -> Resume:
    """Return the straight run beside a resumed one.

    Parameters
    ----------
    answers : sequence
        Results of :func:`harness.promises.bench.resumed`.
    done, rows : int
        Steps and epoch rows that lie before the cut.
    """
    trained = bench.trained
    _, state, again, end = answers
    steps = (*trained.first.steps, *trained.second.steps)[done:]
    return Resume(
        cut=cut.how,
        straight={**trained.end_state, **_prefixed("cut", cut.state)},
        resumed={**end, **_prefixed("cut", state)},
        straight_steps=tuple(dataclasses.astuple(step) for step in steps),
        resumed_steps=tuple(_tuple(step.values()) for step in again["steps"]),
        straight_rows=tuple(
            dataclasses.asdict(row)
            for row in (*trained.first.epochs, *trained.second.epochs)[rows:]
        ),
        resumed_rows=tuple(again["epochs"]),
    )


def _prefixed(prefix: str, state: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}/{name}": digest for name, digest in state.items()}


def _tuple(values: Any) -> tuple[object, ...]:
    return tuple(tuple(v) if isinstance(v, list) else v for v in values)


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
    for whole, again in zip(evidence.straight_steps, evidence.resumed_steps, strict=False):
        if whole != again:
            violations.append(Violation(f"{cut}: step record", str(whole), str(again)))
            break
    if len(evidence.straight_rows) != len(evidence.resumed_rows):
        violations.append(
            Violation(
                f"{cut}: epoch rows after the cut",
                str(len(evidence.straight_rows)),
                str(len(evidence.resumed_rows)),
            )
        )
    for row, other in zip(evidence.straight_rows, evidence.resumed_rows, strict=False):
        violations += differences(
            _without_clock(row), _without_clock(other), what=f"{cut}: epoch {row['epoch']}, column"
        )
    figures = (
        f"{cut}: {len(evidence.straight)} arrays and {len(evidence.straight_steps)} steps equal "
        "in a fresh process"
    )
    after_the_cut = len(evidence.straight_steps) + len(evidence.straight_rows)
    return outcome(violations[:8], after_the_cut, figures)


def _without_clock(row: Any) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in WALL_CLOCK}


_HINT = (
    "Something that determines the next step, or the next row of the log, is not in the checkpoint."
)


RESUME_EXACT = Promise(
    id="resume-exact",
    sentence="a run cut at an epoch boundary continues bit-identically",
    evidence=resume,
    check=resume_is_exact,
    hint=_HINT,
    explained_by=("checkpoint-complete",),
)


RESUME_MID_EPOCH = Promise(
    id="resume-mid-epoch",
    sentence="a run cut within an epoch continues bit-identically",
    evidence=resume_mid_epoch,
    check=resume_is_exact,
    hint=_HINT,
    explained_by=(
        "checkpoint-complete",
        "resume-exact",
    ),
)


RESUME_BEFORE_EVALUATION = Promise(
    id="resume-before-evaluation",
    sentence="a run cut after an epoch's last batch continues with the evaluation that is due",
    evidence=resume_before_evaluation,
    check=resume_is_exact,
    hint=_HINT,
    explained_by=(
        "checkpoint-complete",
        "resume-exact",
    ),
)


def every_resume_is_exact(evidence: Sequence[Resume]) -> Outcome:
    """Require the same of a run cut at many places, each resumed in a process of its own."""
    found = [resume_is_exact(one) for one in evidence]
    violations = [violation for one in found for violation in one.violations]
    figures = f"{len(evidence)} cuts, each resumed in a process of its own: all equal"
    return outcome(violations[:8], len(evidence), figures)


RESUME_ANYWHERE = Promise(
    id="resume-anywhere",
    sentence="a run cut after any step of two epochs continues bit-identically",
    evidence=resume_anywhere,
    check=every_resume_is_exact,
    hint=_HINT,
    tier="full",
    explained_by=(
        "resume-exact",
        "resume-mid-epoch",
    ),
)


@dataclass(frozen=True)
class KilledRuns:
    """Runs that were killed at random moments and resumed each time, until they were done.

    Attributes
    ----------
    kills : int
        How often a process was killed before it was done.
    straight : mapping
        Digests of the state at the end of the run that nothing interrupted.
    ends : sequence of mapping
        The same for each run that was killed.
    refused : sequence of str
        Checkpoints that a kill left under their own name and that could not be restored.
    """

    kills: int
    straight: Digests
    ends: Sequence[Digests]
    refused: Sequence[str]


KILLS = 20
"""Kills at random moments that make enough evidence."""


@needs("train", "save", "restore", "state")
def killed(bench: Bench) -> KilledRuns:
    """Kill processes that train and save after each step, at moments drawn from the seed."""
    _require_steps(bench)
    kills, ends, refused = 0, list[Digests](), list[str]()
    longest = 0.0
    while kills < KILLS or not ends:
        folder = bench.folder / f"killed-{len(ends)}"
        folder.mkdir()
        for attempt in itertools.count():
            begun = time.perf_counter()
            pending = _continue(bench, folder, attempt)
            if longest and kills < KILLS:
                draw = integer(
                    bench.config["runtime"]["seed"], "kill", len(ends), attempt, below=[1000]
                )
                if pending.killed_after(longest * draw[0] / 1000):
                    kills += 1
                    continue
            try:
                ends.append(pending.results()[-1])
            except FreshProcessError as error:
                refused.append(str(error)[-300:])
                return KilledRuns(kills, bench.trained.end_state, ends, refused)
            longest = max(longest, time.perf_counter() - begun)
            break
    return KilledRuns(kills, bench.trained.end_state, ends, refused)


def _continue(bench: Bench, folder: Path, attempt: int) -> FreshCalls:
    """Start a process that goes on from the newest checkpoint, saving after each step."""
    steps = len(bench.trained.first.steps)
    done = max((int(path.name) for path in folder.glob("[0-9][0-9][0-9]")), default=0)
    calls: list[Call] = [("restore", {"path": str(folder / f"{done:03d}")})] if done else []
    for number in range(done + 1, 2 * (steps + 1) + 1):
        epoch, place = (number - 1) // (steps + 1) + 1, (number - 1) % (steps + 1) + 1
        part = {} if place > steps else {"steps": 1}  # the last part is the evaluation
        calls += [
            ("train", {"epochs": epoch, **part}),
            ("save", {"path": str(folder / f"{number:03d}")}),
        ]
    calls.append(("state", {}))
    return start_fresh(bench.spec, bench.config, calls, bench.folder / f"{folder.name}-{attempt}")


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


RESUME_AFTER_KILL = Promise(
    id="resume-after-kill",
    sentence="a run killed at random moments ends as if it had not been",
    evidence=killed,
    check=kills_do_no_harm,
    hint=_HINT,
    tier="full",
    explained_by=(
        "resume-exact",
        "resume-mid-epoch",
    ),
)


def fresh_results(bench: Bench) -> dict[str, Any]:
    """Return what the fresh process answered, by call."""
    results = bench.start_fresh().results()
    found = {"evaluation": results[5], "boundary": results[:4]}
    for number, name in enumerate((MID, BEFORE_EVALUATION)):
        found[name] = results[7 + 5 * number : 11 + 5 * number]
    return found
