"""The strict-fairness trainer: steps, epochs, evaluation, checkpoints, records.

Observers receive each record; watch, ledger and TensorBoard are observers handed in from
above. Nothing an observer or an evaluation does can reach the weights.
"""

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np

from harness.config import Config
from harness.fc2.batch import Batch
from harness.fc2.provider import Provider
from harness.records.records import (
    FIRST_SEGMENT,
    STOPPED_EARLY,
    CheckpointRecord,
    EpochRecord,
    EvalRecord,
    NormsRecord,
    NoteRecord,
    Record,
    StepRecord,
)
from harness.supernet.space import format_arch
from harness.training.checkpoint import CheckpointStore
from harness.training.finite import require_finite_outcome
from harness.training.model import Supernet
from harness.training.progress import PreviousScores, Progress
from harness.training.step import TrainStep
from harness.training.step_functions import StepFunctions
from harness.training.train_parts import StepOutcome, Taken, TrainParts

__all__ = ["Evaluate", "Observer", "Rank", "Trainer", "TrainerOptions"]

Observer = Callable[[Record], None]
Evaluate = Callable[..., EvalRecord]
"""(weights, epoch, between=callable) -> scores; calls `between` now and then."""
Rank = Callable[[Sequence[float], Sequence[float]], tuple[float | None, str | None]]
"""(scores, previous scores) -> (Kendall's tau-b, why it is undefined)."""
Status = Literal["finished", "stopped early", "interrupted"]


class _StopRequestedError(Exception):
    """Ends an evaluation that was asked to stop; nothing of it is kept."""


@dataclass(frozen=True)
class TrainerOptions:
    """What surrounds training without changing it.

    Attributes
    ----------
    observers : tuple of callable
        Receive every record.
    store : CheckpointStore or None
        Where checkpoints go; None: nowhere.
    meta : dict
        Stored in each checkpoint.
    attempt : int
        Number of this attempt at the run; part of checkpoint names.
    segment : str
        Name of the stretch of one training dynamics; goes into the epoch log.
    protocol : str
        Digest of what evaluations measure; goes into the epoch log.
    should_stop : callable
        Asked at every step boundary and between archs of an evaluation; True saves and ends
        with ``"interrupted"``.
    probe : callable or None
        Receives (epoch, step, StepOutcome) of every step, for evidence in memory.
    waited : callable
        Receives what each step waited for its batch, s, before the step's record.
    taken : callable or None
        Receives the arrays that were computed on, before the step's probe; see
        :meth:`harness.training.step.TrainStep.__call__`.
    """

    observers: tuple[Observer, ...] = ()
    store: CheckpointStore | None = None
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)
    attempt: int = 1
    segment: str = FIRST_SEGMENT
    protocol: str = ""
    should_stop: Callable[[], bool] = lambda: False
    probe: Callable[[int, int, StepOutcome], None] | None = None
    waited: Callable[[float], None] = lambda _: None
    taken: Taken | None = None


class Trainer:
    """Trains one supernet on one provider.

    Parameters
    ----------
    config : Config
        The run's configuration.
    model : Supernet
        The variables that are trained.
    provider : Provider
        Training batches.
    evaluate : callable or None
        Scores the weights after an epoch; None: never.
    rank : callable
        Kendall's tau-b of two score lists.
    parts : TrainParts
        What a step is put together from.
    options : TrainerOptions
        Observers, checkpoints, interruption.
    functions : StepFunctions, optional
        Compiled for this supernet and these parts.
    """

    def __init__(
        self, config: Config, model: Supernet, provider: Provider, *,
        evaluate: Evaluate | None, rank: Rank, parts: TrainParts, options: TrainerOptions,
        functions: StepFunctions | None = None,
    ) -> None:  # fmt: skip
        self.config, self.model, self.provider = config, model, provider
        self.progress = Progress()
        self._saved: CheckpointRecord | None = None
        self._recorded = True
        self._evaluate, self._rank, self._parts, self._options = evaluate, rank, parts, options
        self._step = TrainStep(model, config, parts, functions)
        self.steps_per_epoch = len(provider.planned_sizes)
        self.total_steps = self.steps_per_epoch * config.train.num_epochs
        self.expected_clip_checks = parts.expected_checks(
            provider.planned_sizes, config.train.micro_batch, position=config.train.clip_position
        )

    def run(self, *, until: int | None = None) -> Status:
        """Train to the end of epoch `until`, by default the configured last one.

        Raises
        ------
        NonFiniteError
            If a loss, norm, weight or statistic is not finite.
        """
        last = self.config.train.num_epochs if until is None else until
        while self.progress.epoch < last:
            if self._options.should_stop():
                return "interrupted"  # what there is to save is saved
            # Asked before an epoch, so that a resume of a run that stopped early trains no further.
            patience = self.config.eval.early_stop_patience
            if self._parts.is_used_up(self.progress.bad_epochs, patience):
                self._emit(NoteRecord(self.progress.epoch, STOPPED_EARLY))
                return "stopped early"
            with closing(self._epoch_steps()) as steps:  # leaves no loader thread behind
                for _ in steps:
                    if self._options.should_stop():
                        self._save()
                        return "interrupted"
            try:
                self._end_epoch()
            # After the epoch's last step: the resume makes the evaluation again, and no step.
            except _StopRequestedError:
                return "interrupted"
        return "finished"

    def surround(self, options: TrainerOptions, evaluate: Evaluate | None) -> None:
        """Replace what surrounds training: observers, checkpoints, evaluation."""
        self._options, self._evaluate = options, evaluate

    def _emit(self, record: Record) -> None:
        for observer in self._options.observers:
            observer(record)

    def _epoch_steps(self) -> Generator[None, None, None]:
        epoch = self.progress.epoch + 1
        with closing(self.provider.stream(epoch, start=self.progress.step)) as batches:
            for batch in self._read(batches):
                self._train_on(batch, epoch)
                yield

    def _read(self, batches: Iterator[Batch]) -> Generator[Batch, None, None]:
        """Yield batches; where one cannot be read, the steps before it are saved first."""
        try:
            while True:
                start = perf_counter()
                batch = next(batches, None)
                if batch is None:
                    return
                self._options.waited(perf_counter() - start)
                yield batch
        except Exception:
            if self.progress.step:
                self._save()
            raise

    def _train_on(self, batch: Batch, epoch: int) -> None:
        # By place in the plan, so that a segment of another plan takes its place in it.
        step = self.progress.step
        planned = self.progress.epoch * self.steps_per_epoch + step
        archs = self._parts.fair_cycle(seed=self.config.runtime.seed, epoch=epoch, step=step)
        lr = self._parts.schedule(self.config.train.lr, planned, self.total_steps)
        outcome = self._parts.step(self._step, archs, batch, lr, self._options.taken)
        # Before anything of the step is recorded or saved.
        require_finite_outcome(outcome, self.model, epoch, step + 1)
        self._advance(archs, outcome, lr)
        self._emit(self._step_record(epoch, step + 1, archs, batch.digest, outcome, lr))
        if self._options.probe is not None:
            self._options.probe(epoch, step + 1, outcome)
        every = self.config.checkpoint.every_steps
        if self._parts.is_save_due(step + 1, every, self.steps_per_epoch):
            self._save()

    def _advance(self, archs: Sequence[Sequence[int]], outcome: StepOutcome, lr: float) -> None:
        threshold = self.config.train.grad_clip_global_norm
        self.progress = self._parts.after_step(
            self.progress,
            counts=self._parts.count(self.progress.counts, archs),
            losses=outcome.losses,
            norms=tuple(check.before for check in outcome.checks),
            clipped=sum(check.clipped(threshold) for check in outcome.checks),
            lr=lr,
        )

    def _step_record(
        self, epoch: int, step: int, archs: Sequence[Sequence[int]], digest: str,
        outcome: StepOutcome, lr: float,
    ) -> StepRecord:  # fmt: skip
        threshold = self.config.train.grad_clip_global_norm
        return StepRecord(
            epoch, step, tuple(format_arch(arch) for arch in archs), digest, lr,
            float(np.mean(outcome.losses)), len(outcome.checks),
            sum(check.clipped(threshold) for check in outcome.checks),
            max(check.before for check in outcome.checks),
        )  # fmt: skip

    def _end_epoch(self) -> None:
        epoch = self.progress.epoch + 1
        # One record an epoch: 96 norms would not fit a step's 300 bytes (decision 0005).
        self._emit(NormsRecord(epoch, self.progress.sums.norms))
        scores = self._scores(epoch)
        row = self._parts.row(
            self.progress, scores, config=self.config, rank=self._rank,
            expected=self.expected_clip_checks, segment=self._options.segment,
            protocol=self._options.protocol,
        )  # fmt: skip
        improved = self._finish_epoch(scores, row)
        # Checkpoint, then row, which carries its digest: after a crash between the two the resume
        # writes the row from the checkpoint, where `_finish_epoch` has put it.
        digest = self._save(best=improved)
        self._emit(dataclasses.replace(row, checkpoint_digest=digest))

    def _scores(self, epoch: int) -> EvalRecord | None:
        """Evaluate where that is due, once the epoch is saved."""
        if self._evaluate is None or epoch % self.config.eval.eval_every_epoch:
            return None
        # First: whatever ends the evaluation, a resume makes it again, and trains no step again.
        self._keep()
        try:
            weights = self.model.weight_tensors()
            scores = self._evaluate(weights, epoch, between=self._stop_if_asked)
        except Exception:
            self._record_saved()
            raise
        self._emit(scores)
        return scores

    def _stop_if_asked(self) -> None:
        if self._options.should_stop():
            raise _StopRequestedError

    def _finish_epoch(self, scores: EvalRecord | None, row: EpochRecord) -> bool:
        now = self.progress
        best, reference, bad, previous = (
            now.best_metric, now.patience_metric, now.bad_epochs, now.previous,
        )  # fmt: skip
        improved = False
        if scores is not None:
            metric, delta = scores.mean_epe, self.config.eval.early_stop_min_delta
            improved = self._parts.is_best(metric, best)
            best = metric if improved else best
            reference, bad = self._parts.track_patience(metric, reference, bad, min_delta=delta)
            previous = PreviousScores(scores.archs, scores.per_arch_epe, scores.eval_batch_hash)
        self.progress = dataclasses.replace(
            self._parts.after_epoch(now), best_metric=best, patience_metric=reference,
            bad_epochs=bad, previous=previous, row=dataclasses.asdict(row),
        )  # fmt: skip
        return improved

    def continue_from(self, saved: CheckpointRecord) -> None:
        """Take note of the checkpoint that the present state was restored from."""
        self._saved, self._recorded = saved, True

    def _save(self, *, best: bool = False) -> str | None:
        """Save where the run stands, and record it; return the digest, None without a store."""
        if self._options.store is None:
            return None
        self._keep(best=best)
        self._record_saved()
        return None if self._saved is None else self._saved.digest

    def _keep(self, *, best: bool = False) -> None:
        """Save where the run stands, unless that is saved already."""
        store, now, old = self._options.store, self.progress, self._saved
        if store is None or (old is not None and (old.epoch, old.step) == (now.epoch, now.step)):
            return
        name = f"epoch-{now.epoch:04d}-step-{now.step:05d}-attempt-{self._options.attempt}"
        digest = store.save(
            name, self._parts.save(self.model), now.get_state(), self._options.meta, best=best,
            replaces=old.name if old is not None and self._was_its_last_step(old) else "",
        )  # fmt: skip
        self._recorded = False
        self._saved = CheckpointRecord(
            now.epoch, now.step, now.global_step, name, digest, store.best_name()
        )

    def _was_its_last_step(self, old: CheckpointRecord) -> bool:
        """Say whether a checkpoint is of the last step of the epoch that has now ended."""
        ended = self.progress.epoch - 1, self.steps_per_epoch
        return self.progress.step == 0 and (old.epoch, old.step) == ended

    def _record_saved(self) -> None:
        if self._saved is not None and not self._recorded:
            self._recorded = True
            self._emit(self._saved)
