"""What a second process of the system finds from the checkpoints of this one.

Each function lets it begin and returns at once; whoever needs the result waits for it.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from harness.errors import NotApplicableError, is_out_of_memory, one_line
from harness.promises.bench import Bench, Tree
from harness.promises.promise import Digests, require_seen
from harness.promises.states import CUT, END, START, Cut, saved_cut
from harness.systems.answers import AnswerError
from harness.systems.beside import Job
from harness.systems.process import WorkerError
from harness.systems.protocol import Evaluation, System, Training, digests_of

__all__ = [
    "FROM_CHECKPOINTS", "CutRun", "ResumedRun", "cut_after_epoch", "cut_before_evaluation",
    "cut_mid_epoch", "evaluation_of_end", "require_cuts_within", "resumed_run",
]  # fmt: skip


@dataclass(frozen=True)
class ResumedRun:
    """A run that was resumed: its state at the cut, what it did, and its state at the end.

    ``refused`` is why its checkpoint was not restored; empty if it was.
    """

    at_cut: Digests
    training: Training
    at_end: Digests
    refused: str = ""


@dataclass(frozen=True)
class CutRun:
    """A cut and the run that is resumed there."""

    cut: Cut
    resumed: "Future[ResumedRun]"


def resumed_run(config: Tree, path: str, again: str = "") -> Job[ResumedRun]:
    """Return the job that resumes from a checkpoint and trains to the end of epoch 2.

    Parameters
    ----------
    again : str, default ""
        Where checkpoints go that are resumed from in their turn, a step later in epoch 1 and a
        step into epoch 2: what a run saves that was itself resumed. Empty: it is cut no more.
    """

    def job(make: Callable[[], System]) -> ResumedRun:
        system = make()
        system.open(config)
        try:
            system.restore(path)
        except (AnswerError, NotApplicableError, WorkerError):
            raise  # not the system's refusal
        except Exception as error:
            if is_out_of_memory(error):
                raise  # nor is that
            return ResumedRun({}, Training(), {}, one_line(error))
        at_cut = digests_of(system)
        runs = list[Training]()
        for epoch in (1, 2) if again else ():
            runs.append(system.train(epoch, steps=1))
            system.save(f"{again}-{epoch}")
            system.restore(f"{again}-{epoch}")
            runs.append(system.train(epoch))
        runs += [] if again else [system.train(2)]
        training = replace(
            runs[-1],
            steps=tuple(step for run in runs for step in run.steps),
            epochs=tuple(row for run in runs for row in run.epochs),
        )
        return ResumedRun(at_cut, training, digests_of(system))

    return job


def evaluation_of_end(bench: Bench) -> "Future[Evaluation]":
    """Let the last checkpoint be evaluated."""

    def job(make: Callable[[], System]) -> Evaluation:
        system = make()
        system.open(bench.config)
        system.restore(bench.trained.paths[END])
        return system.evaluate()

    return bench.beside(job)


def cut_after_epoch(bench: Bench) -> CutRun:
    """Let the run be resumed after epoch 1."""
    trained = bench.trained
    cut = Cut("after-epoch", "cut after epoch 1", trained.paths[CUT], trained.cut_state)
    return _resumed(bench, cut)


def cut_mid_epoch(bench: Bench) -> CutRun:
    """Cut the run after the first step, and let it be resumed there, and again a step later.

    In the first epoch, so that an epoch follows the one that was cut; and once in that, which has
    another order than the first.
    """
    require_cuts_within(bench)
    with bench.at(START) as system:
        system.train(1, steps=1)
        cut = saved_cut(system, bench.trained, "cut-mid-epoch", "cut after step 1 of epoch 1")
    if len(bench.trained.first.steps) < _STEPS:
        return _resumed(bench, cut)
    how = f"{cut.how}, after the next, and after step 1 of epoch 2"
    return _resumed(bench, replace(cut, how=how), again=f"{cut.path}-again")


def cut_before_evaluation(bench: Bench) -> CutRun:
    """Cut the run after the last batch of epoch 1, and let it be resumed there."""
    require_cuts_within(bench)
    require_seen(bench.trained.first.steps, "no training step was recorded (Training.steps)")
    with bench.at(START) as system:
        # So many steps end the epoch's batches, and train(steps=) stops before the evaluation.
        system.train(1, steps=len(bench.trained.first.steps))
        how = "cut after the last batch of epoch 1"
        cut = saved_cut(system, bench.trained, "cut-before-evaluation", how)
    return _resumed(bench, cut)


_STEPS = 2
"""That an epoch has at least that is cut twice."""


FROM_CHECKPOINTS = (evaluation_of_end, cut_after_epoch, cut_mid_epoch, cut_before_evaluation)
"""In the order in which the second process should do them."""


def require_cuts_within(bench: Bench) -> None:
    """Require a system that stops within an epoch.

    Raises
    ------
    NotApplicableError
        If it cannot.
    """
    if "steps" not in bench.trained.description.supports:
        msg = "the system does not stop within an epoch (train(steps=N))"
        raise NotApplicableError(msg)


def _resumed(bench: Bench, cut: Cut, again: str = "") -> CutRun:
    return CutRun(cut, bench.beside(resumed_run(bench.config, cut.path, again)))
