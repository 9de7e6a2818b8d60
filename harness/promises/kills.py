"""A run that is killed at random moments ends as if it had not been."""

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.kinds import state_differences
from harness.promises.promise import (
    Digests,
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
)
from harness.promises.second_process import (
    require_cuts_within,
)
from harness.streams import integer
from harness.systems.answers import AnswerError
from harness.systems.beside import Beside, Job
from harness.systems.protocol import System, digests_of
from harness.wording import counted

__all__ = ["KILLS", "RESUME_AFTER_KILL", "KilledRuns", "killed", "kills_do_no_harm"]


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


@needs("train", "save", "restore", "state", says=("supports: steps",))
def killed(bench: Bench) -> KilledRuns:
    """Kill processes that train and save after each step, at moments drawn from the seed."""
    require_cuts_within(bench)
    straight, ends = bench.trained.end_state, list[Digests]()
    kills, longest = 0, 0.0
    while kills < KILLS or not ends:
        folder = bench.folder / f"killed-{len(ends)}"
        folder.mkdir()
        for attempt in itertools.count():
            # After enough kills the run may end: only one that ends can be compared.
            moment = (
                _kill_after_seconds(bench, len(ends), attempt, longest) if kills < KILLS else None
            )
            begun = time.perf_counter()
            try:
                end = _continued(bench, folder, moment)
            except (AnswerError, NotApplicableError):
                raise  # not the system's refusal
            except Exception as error:  # noqa: BLE001 -- a kill must leave nothing that fails
                return KilledRuns(kills, straight, ends, [str(error)[-300:]])
            if end is not None:
                ends.append(end)
                longest = max(longest, time.perf_counter() - begun)
                break
            kills += 1
    return KilledRuns(kills, straight, ends, [])


def _kill_after_seconds(bench: Bench, run: int, attempt: int, longest: float) -> float | None:
    """Return when to kill a process, s; None for the first run, which tells how long it takes."""
    if not longest:
        return None
    draw = integer(bench.config["runtime"]["seed"], "kill", run, attempt, below=[1000])
    return longest * draw[0] / 1000


def _continued(bench: Bench, folder: Path, moment: float | None) -> Digests | None:
    """Go on from the newest checkpoint in a new process; None if it was killed on the way."""
    # Leaving the block kills the process in whatever it is doing (decision 0010).
    with closing(Beside(bench.spec, bench.config)) as process:
        pending = process.submit(_saving_often(bench, folder))
        try:
            return pending.result(timeout=moment)
        except TimeoutError:
            return None


def _saving_often(bench: Bench, folder: Path) -> Job[Digests]:
    """Return the job that trains two epochs and saves after each step and each evaluation."""
    steps = len(bench.trained.first.steps)
    # Whatever a kill left under a final name is restored: it has to be whole.
    done = max((int(path.name) for path in folder.glob("[0-9][0-9][0-9]")), default=0)

    def job(make: Callable[[], System]) -> Digests:
        system = make()
        system.open(bench.config)
        if done:
            system.restore(str(folder / f"{done:03d}"))
        for number in range(done + 1, 2 * (steps + 1) + 1):
            epoch, place = (number - 1) // (steps + 1) + 1, (number - 1) % (steps + 1) + 1
            # the last part of an epoch is its evaluation
            system.train(epoch, steps=None if place > steps else 1)
            system.save(str(folder / f"{number:03d}"))
        return digests_of(system)

    return job


def kills_do_no_harm(evidence: KilledRuns) -> Outcome:
    """Require runs that were killed again and again to end as the straight run does.

    And every checkpoint that stands under its own name to be whole.
    """
    violations = [
        Violation("checkpoint left by a kill", "whole, or not there under its name", text)
        for text in evidence.refused
    ]
    for number, end in enumerate(evidence.ends, start=1):
        what = f"killed run {number}, at the end,"
        unlike = state_differences(evidence.straight, end, what=what, of="as without a kill")
        # Of no kind: at the end all arrays differ, whichever was not restored.
        violations += [replace(violation, kind="") for violation in unlike]
    if evidence.kills < KILLS:
        violations.append(Violation("kills", f"at least {KILLS}", str(evidence.kills)))
    runs = counted(len(evidence.ends), "run")
    figures = f"{counted(evidence.kills, 'kill')} in {runs}, all end as the straight one"
    looked_at = min(len(evidence.ends), len(evidence.straight))
    return outcome(violations[:8], looked_at, figures)


RESUME_AFTER_KILL = Promise(
    id="resume-after-kill",
    sentence="a run killed at random moments ends as if it had not been",
    evidence=killed,
    check=kills_do_no_harm,
    hint=(
        "Something that determines the next step, or the next row of the log, is not in the "
        "checkpoint, or a kill leaves one that is not whole under its final name."
    ),
    tier="full",
    explained_by=("resume-exact", "resume-mid-epoch"),
)
