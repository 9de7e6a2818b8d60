"""One train step, one checkpoint, one epoch."""

import math
import statistics
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.conftest import Timer
from harness.config import with_overrides

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.systems.session import Session
    from harness.training.step import StepOutcome

_STEP = "train step"


@pytest.mark.benchmark(group="train step, by clip_position")
@pytest.mark.parametrize("position", ["micro_step", "update"])
def test_train_step(timer: Timer, session: "Session", position: str) -> None:
    """Fair cycle of three archs on one batch in micro-batches, clipping, one Adam update."""
    from harness.training.fairness import fair_cycle
    from harness.training.model import Supernet
    from harness.training.step import TrainParts, TrainStep

    config = with_overrides(session.config, [f"train.clip_position={position}"])
    seed, batch, steps = config.runtime.seed, session.provider.batch(1, 0), count()
    model = Supernet(config.model.skeleton, config.model.width, seed)
    train = TrainStep(model, config, TrainParts())

    def step() -> "StepOutcome":
        archs = fair_cycle(seed=seed, epoch=1, step=next(steps))
        return train(archs, batch, config.train.lr)

    step()  # traces
    outcome, seconds = timer(step, rounds=12)
    assert outcome.finite
    assert np.isfinite(outcome.losses).all()
    timer.note(clip_position=position, clip_checks=len(outcome.checks))
    if seconds is not None:
        timer.report.medians[f"{_STEP} {position}"] = seconds
        text = f"{seconds:.4f} s with clip_position {position}"
        before = timer.report.lines.get(_STEP)
        timer.report.lines[_STEP] = f"{before}, {text}" if before else text


@pytest.mark.benchmark(group="checkpoint")
def test_checkpoint_save(timer: Timer, session: "Session", tmp_path: Path) -> None:
    """Fetch every variable, digest, write, sync and rename; ``last`` and ``best`` follow."""
    from harness.training.checkpoint import CheckpointStore
    from harness.training.model import Supernet
    from harness.training.progress import Progress

    model = Supernet(session.config.model.skeleton, session.config.model.width, 0)
    store, names, meta = CheckpointStore(tmp_path), count(), session.meta()

    def save(name: str) -> str:
        return store.save(name, model.get_state(), Progress().get_state(), meta, best=True)

    digest, seconds = timer(save, rounds=12, setup=lambda: ((f"epoch-{next(names):04d}",), {}))
    assert store.load("last").digest == digest
    megabytes = sum(file.stat().st_size for file in store.resolve("last").iterdir()) / 1e6
    timer.note(megabytes=round(megabytes, 3))
    if seconds is None:
        return
    text = f"{seconds:.4f} s for one save of {megabytes:.1f} MB"
    step = timer.report.medians.get(f"{_STEP} {session.config.train.clip_position}")
    if step is not None:
        timer.note(save_per_train_step=seconds / step)
        text += f" = {seconds / step:.2f} of one train step ({session.config.train.clip_position})"
    timer.report.lines["checkpoint"] = text


@pytest.mark.benchmark(group="one epoch")
def test_epoch(timer: Timer, session: "Session", tmp_path: Path) -> None:
    """Train steps on freshly decoded batches, evaluation of the pool, checkpoint."""
    from harness.evidence.records import EvalRecord
    from harness.training.checkpoint import CheckpointStore
    from harness.training.trainer import TrainerOptions

    records: list[Any] = []
    options = TrainerOptions(
        observers=(records.append,), store=CheckpointStore(tmp_path), meta=session.meta()
    )
    trainer = session.trainer(options)
    trainer.run(until=1)  # traces, and decodes the evaluation's batches
    epochs = count(2)
    status, seconds = timer(trainer.run, rounds=5, setup=lambda: ((), {"until": next(epochs)}))
    assert status == "finished"
    scores = [record for record in records[1:] if isinstance(record, EvalRecord)][1:]
    assert all(math.isfinite(score.mean_epe) for score in scores)
    if seconds is not None:
        parts = {
            "eval_seconds": statistics.median(s.eval_seconds for s in scores),
            "bn_recal_seconds": statistics.median(s.bn_recal_seconds for s in scores),
        }
        timer.note(steps=trainer.steps_per_epoch, **parts)
        timer.report.lines["epoch"] = _epoch_text(seconds, parts, session)


def _epoch_text(seconds: float, parts: dict[str, float], session: "Session") -> str:
    config = session.config.eval
    steps = session.config.train.steps_per_epoch
    return (
        f"{seconds:.4f} s for {steps} train steps, one checkpoint and one evaluation (K="
        f"{config.eval_batches_per_arch}: eval {parts['eval_seconds']:.4f} s, R="
        f"{config.bn_recal_batches}: BN-recal {parts['bn_recal_seconds']:.4f} s)"
    )
