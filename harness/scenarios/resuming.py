"""Scenarios of runs that are cut, killed and resumed."""

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.evidence.bundles import Digests, KilledRuns, Resume
from harness.relations.base import NotApplicableError
from harness.relations.resume import KILLS
from harness.scenarios.book import (
    BEFORE_EVALUATION,
    CUT,
    MID,
    START,
    Book,
    Cut,
    resumed,
    saved_cut,
)  # fmt: skip
from harness.scenarios.runs import fresh_results
from harness.streams import integer
from harness.systems.fresh import Call, FreshCalls, FreshProcessError, start_fresh
from harness.systems.protocol import System

__all__ = ["killed", "resume", "resume_anywhere", "resume_before_evaluation", "resume_mid_epoch"]


def resume(book: Book) -> Resume:
    """Hold the straight second epoch against one resumed in a fresh process."""
    trained, answers = book.trained, fresh_results(book)["boundary"]
    cut = Cut("", "cut after epoch 1", trained.paths[CUT], trained.cut_state)
    return _held(book, cut, answers, done=len(trained.first.steps), rows=1)


def resume_mid_epoch(book: Book) -> Resume:
    """Hold the straight run against one resumed after the first step of epoch 2."""
    answers, cut = _within(book, MID)
    return _held(book, cut, answers, done=len(book.trained.first.steps) + 1, rows=1)


def resume_before_evaluation(book: Book) -> Resume:
    """Hold the straight run against one resumed after the last batch, before the evaluation."""
    answers, cut = _within(book, BEFORE_EVALUATION)
    return _held(book, cut, answers, done=len(book.trained.first.steps), rows=0)


def _require_steps(book: Book) -> None:
    if "steps" not in book.trained.description.supports:
        msg = "the system does not stop within an epoch (train(steps=N))"
        raise NotApplicableError(msg)


def _within(book: Book, name: str) -> tuple[Sequence[Any], Cut]:
    _require_steps(book)
    return fresh_results(book)[name], book.cut(name)


def resume_anywhere(book: Book) -> list[Resume]:
    """Cut after every step and at every epoch's end; resume each in a process of its own."""
    _require_steps(book)
    with book.at(START) as system:
        cuts = list(_cut_everywhere(book, system))
    found = []
    for first in range(0, len(cuts), _BESIDE):
        some = cuts[first : first + _BESIDE]
        started = [
            start_fresh(
                book.spec, book.config, resumed(cut.path), book.folder / f"fresh-{cut.name}"
            )
            for cut, _, _ in some
        ]
        for (cut, done, rows), pending in zip(some, started, strict=True):
            found.append(_held(book, cut, pending.results(), done=done, rows=rows))
    return found


_BESIDE = 2
"""Fresh processes at a time."""


def _cut_everywhere(book: Book, system: System) -> Iterator[tuple[Cut, int, int]]:
    """Train two epochs, cut after every step; give each cut, steps done and rows before it."""
    trained = book.trained
    steps = len(trained.first.steps)
    last = 2 * steps if trained.second.epochs else 2 * steps - 1  # a row, or else a step, is left
    for done in range(1, last + 1):
        epoch, step = (done - 1) // steps, (done - 1) % steps + 1
        system.train(epoch + 1, steps=1)
        how = f"cut after step {step} of epoch {epoch + 1}"
        yield saved_cut(book, system, f"anywhere-{done}", how), done, epoch
        if step == steps and epoch == 0:  # after the last epoch nothing is left to compare
            system.train(epoch + 1)
            how = f"cut after epoch {epoch + 1}"
            yield saved_cut(book, system, f"anywhere-{done}-end", how), done, epoch + 1


def killed(book: Book) -> KilledRuns:
    """Kill processes that train and save after each step, at moments drawn from the seed."""
    _require_steps(book)
    kills, ends, refused = 0, list[Digests](), list[str]()
    longest = 0.0
    while kills < KILLS or not ends:
        folder = book.folder / f"killed-{len(ends)}"
        folder.mkdir()
        for attempt in itertools.count():
            begun = time.perf_counter()
            pending = _continue(book, folder, attempt)
            if longest and kills < KILLS:
                draw = integer(
                    book.config["runtime"]["seed"], "kill", len(ends), attempt, below=[1000]
                )
                if pending.killed_after(longest * draw[0] / 1000):
                    kills += 1
                    continue
            try:
                ends.append(pending.results()[-1])
            except FreshProcessError as error:
                refused.append(str(error)[-300:])
                return KilledRuns(kills, book.trained.end_state, ends, refused)
            longest = max(longest, time.perf_counter() - begun)
            break
    return KilledRuns(kills, book.trained.end_state, ends, refused)


def _continue(book: Book, folder: Path, attempt: int) -> FreshCalls:
    """Start a process that goes on from the newest checkpoint, saving after each step."""
    steps = len(book.trained.first.steps)
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
    return start_fresh(book.spec, book.config, calls, book.folder / f"{folder.name}-{attempt}")


def _held(book: Book, cut: Cut, answers: Sequence[Any], *, done: int, rows: int) -> Resume:
    """Return the straight run beside a resumed one.

    Parameters
    ----------
    answers : sequence
        Results of :func:`harness.scenarios.book.resumed`.
    done, rows : int
        Steps and epoch rows that lie before the cut.
    """
    trained = book.trained
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
