"""Scenarios of runs that are cut, killed and resumed."""

import dataclasses
import itertools
import time
from collections.abc import Mapping
from concurrent.futures import wait
from contextlib import ExitStack, closing
from functools import partial

from harness.evidence.bundles import Digests, KilledRuns, Resume
from harness.relations.base import NotApplicableError
from harness.relations.resume import KILLS
from harness.scenarios.book import BEFORE_EVALUATION, BOUNDARY, MID, Book, Cut
from harness.scenarios.fresh import Resumed, continued, resumed
from harness.streams import integer
from harness.systems.beside import Beside
from harness.systems.protocol import digests_of

__all__ = ["killed", "resume", "resume_anywhere", "resume_before_evaluation", "resume_mid_epoch"]


def resume(book: Book) -> Resume:
    """Hold the straight second epoch against one resumed in a fresh process."""
    done = len(book.trained.first.steps)
    return _held(book, book.cut(BOUNDARY), book.resumed(BOUNDARY), done=done, rows=1)


def resume_mid_epoch(book: Book) -> Resume:
    """Hold the straight run against one resumed after the first step of epoch 2."""
    _require_steps(book)
    done = len(book.trained.first.steps) + 1
    return _held(book, book.cut(MID), book.resumed(MID), done=done, rows=1)


def resume_before_evaluation(book: Book) -> Resume:
    """Hold the straight run against one resumed after the last batch, before the evaluation."""
    _require_steps(book)
    done, name = len(book.trained.first.steps), BEFORE_EVALUATION
    return _held(book, book.cut(name), book.resumed(name), done=done, rows=0)


def _require_steps(book: Book) -> None:
    if "steps" not in book.trained.system.describe().supports:
        msg = "the system does not stop within an epoch (train(steps=N))"
        raise NotApplicableError(msg)


def resume_anywhere(book: Book) -> list[Resume]:
    """Cut after every step and at every epoch's end; resume each in a process of its own."""
    _require_steps(book)
    trained, system = book.trained, book.trained.system
    steps, cuts = len(trained.first.steps), []
    system.restore(trained.start)
    last = 2 * steps if trained.second.epochs else 2 * steps - 1  # a row, or else a step, is left
    for done in range(1, last + 1):
        epoch, step = (done - 1) // steps, (done - 1) % steps + 1
        system.train(epoch + 1, steps=1)
        how = f"cut after step {step} of epoch {epoch + 1}"
        cuts.append((_saved(book, f"anywhere-{done}", how), done, epoch))
        if step == steps and epoch == 0:  # after the last epoch nothing is left to compare
            system.train(epoch + 1)
            how = f"cut after epoch {epoch + 1}"
            cuts.append((_saved(book, f"anywhere-{done}-end", how), done, epoch + 1))
    system.restore(trained.end)
    found = []
    for first in range(0, len(cuts), _BESIDE):
        some = cuts[first : first + _BESIDE]
        with ExitStack() as processes:
            started = [
                processes.enter_context(closing(Beside(book.spec, book.config))).submit(
                    partial(resumed, book.config, cut.path)
                )
                for cut, _, _ in some
            ]
            for (cut, done, rows), pending in zip(some, started, strict=True):
                found.append(_held(book, cut, pending.result(), done=done, rows=rows))
    return found


_BESIDE = 2
"""Processes at a time."""


def _saved(book: Book, name: str, how: str) -> Cut:
    system, path = book.trained.system, str(book.folder / "checkpoints" / name)
    system.save(path)
    return Cut(name, how, path, digests_of(system))


def killed(book: Book) -> KilledRuns:
    """Kill processes that train and save after each step, at moments drawn from the seed."""
    _require_steps(book)
    kills, ends, refused = 0, list[Digests](), list[str]()
    seed, longest = book.config["runtime"]["seed"], 0.0
    while kills < KILLS or not ends:
        folder = book.folder / f"killed-{len(ends)}"
        folder.mkdir()
        job = partial(continued, book.config, folder, len(book.trained.first.steps))
        for attempt in itertools.count():
            begun = time.perf_counter()
            with closing(Beside(book.spec, book.config)) as beside:  # closing it kills
                pending = beside.submit(job)
                if longest and kills < KILLS:
                    draw = integer(seed, "kill", len(ends), attempt, below=[1000])[0]
                    if not wait([pending], timeout=longest * draw / 1000).done:
                        kills += 1
                        continue
                try:
                    ends.append(pending.result())
                except Exception as error:  # noqa: BLE001 -- it does not go on: the evidence
                    refused.append(f"{type(error).__name__}: {error}"[-300:])
                    return KilledRuns(kills, book.trained.end_state, ends, refused)
            longest = max(longest, time.perf_counter() - begun)
            break
    return KilledRuns(kills, book.trained.end_state, ends, refused)


def _held(book: Book, cut: Cut, again: Resumed, *, done: int, rows: int) -> Resume:
    """Return the straight run beside a resumed one.

    Parameters
    ----------
    again : Resumed
        What another process did from the cut on.
    done, rows : int
        Steps and epoch rows that lie before the cut.
    """
    trained = book.trained
    steps = (*trained.first.steps, *trained.second.steps)[done:]
    return Resume(
        cut=cut.how,
        straight={**trained.end_state, **_prefixed("cut", cut.state)},
        resumed={**again.end, **_prefixed("cut", again.restored)},
        straight_steps=tuple(dataclasses.astuple(step) for step in steps),
        resumed_steps=tuple(dataclasses.astuple(step) for step in again.training.steps),
        straight_rows=tuple(
            dataclasses.asdict(row)
            for row in (*trained.first.epochs, *trained.second.epochs)[rows:]
        ),
        resumed_rows=tuple(dataclasses.asdict(row) for row in again.training.epochs),
    )


def _prefixed(prefix: str, state: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}/{name}": digest for name, digest in state.items()}
