"""One train step, one checkpoint, one epoch."""

import math
import statistics
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.timer import Timer
from harness.config import with_overrides

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.runs.session import Session
    from harness.training.train_parts import StepOutcome

Step = Callable[[], "StepOutcome"]

_POSITIONS = ("micro_step", "update")


@pytest.fixture(scope="module")
def steps(session: "Session") -> dict[str, Step]:
    """Return a traced train step for each clip position, each on a supernet of its own."""
    return {position: _traced_step(session, position) for position in _POSITIONS}


def _traced_step(session: "Session", position: str) -> Step:
    from harness.training.fairness import fair_cycle
    from harness.training.model import Supernet
    from harness.training.step import TrainStep
    from harness.training.train_parts import TrainParts

    config = with_overrides(session.config, [f"train.clip_position={position}"])
    seed, batch, numbers = config.runtime.seed, session.provider.batch(1, 0), count()
    model = Supernet(config.model.skeleton, config.model.width, seed)
    train = TrainStep(model, config, TrainParts())

    def step() -> "StepOutcome":
        archs = fair_cycle(seed=seed, epoch=1, step=next(numbers))
        return train(archs, batch, config.train.lr)

    step()
    return step


@pytest.mark.benchmark(group="train step, by clip_position")
@pytest.mark.parametrize("position", _POSITIONS)
def test_train_step(timer: Timer, steps: dict[str, Step], position: str) -> None:
    """Fair cycle of three archs on one batch in micro-batches, clipping, one Adam update."""
    other = next(name for name in _POSITIONS if name != position)
    timing = timer(steps[position], rounds=8, reference=steps[other])
    outcome = timing.result
    assert outcome.finite
    assert np.isfinite(outcome.losses).all()
    timer.note(clip_position=position, clip_checks=len(outcome.checks))
    if timing.seconds is not None:
        timer.note(**{f"per_{other}_step": timing.ratio})
        timer.report.lines[f"train step, {position}"] = (
            f"{timing.seconds:.4f} s with {len(outcome.losses)} micro-steps; "
            f"ratio to {other} {timing.ratio:.2f}, over paired rounds"
        )


@pytest.mark.benchmark(group="checkpoint")
def test_checkpoint_save(
    timer: Timer, session: "Session", steps: dict[str, Step], tmp_path: Path
) -> None:
    """Fetch every variable, digest, write, sync and rename; ``last`` and ``best`` follow."""
    from harness.training.checkpoint import CheckpointStore
    from harness.training.progress import Progress

    store, names, meta = CheckpointStore(tmp_path), count(), session.meta()

    def save(name: str) -> str:
        state = session.model.get_state()
        return store.save(name, state, Progress().get_state(), meta, best=True)

    timing = timer(
        save, rounds=10, arguments=lambda: (f"epoch-{next(names):04d}",),
        reference=steps["micro_step"],
    )  # fmt: skip
    assert store.load("last").digest == timing.result
    megabytes = sum(file.stat().st_size for file in store.resolve("last").iterdir()) / 1e6
    timer.note(megabytes=megabytes)
    if timing.seconds is not None:
        timer.note(save_per_train_step=timing.ratio)
        timer.report.lines["checkpoint"] = (
            f"{timing.seconds:.4f} s for one save of {megabytes:.1f} MB; "
            f"ratio to a train step (micro_step) {timing.ratio:.2f}, over paired rounds"
        )


@pytest.mark.benchmark(group="checkpoint")
@pytest.mark.slow
def test_checkpoint_save_at_full_width(timer: Timer, session: "Session", tmp_path: Path) -> None:
    """The same at C = 32: a save costs less than one train step, of few and small samples."""
    from harness.runs.session import open_session
    from harness.training.checkpoint import CheckpointStore
    from harness.training.progress import Progress

    wide = with_overrides(
        session.config,
        ["model.width=32", "data.input_height=64", "data.input_width=96", "train.batch_size=4",
         "train.micro_batch_size=4"],
    )  # fmt: skip
    opened, names = open_session(wide), count()
    step, store, meta = _traced_step(opened, "update"), CheckpointStore(tmp_path), opened.meta()
    timing = timer(
        lambda name: store.save(name, opened.model.get_state(), Progress().get_state(), meta),
        rounds=4, arguments=lambda: (f"epoch-{next(names):04d}",), reference=step,
    )  # fmt: skip
    megabytes = sum(file.stat().st_size for file in store.resolve("last").iterdir()) / 1e6
    timer.note(megabytes=megabytes, width=32)
    if timing.seconds is not None and timing.ratio is not None:
        timer.note(save_per_train_step=timing.ratio)
        timer.report.lines["checkpoint at C = 32"] = (
            f"{timing.seconds:.4f} s for one save of {megabytes:.1f} MB; ratio to a train step of "
            f"4 samples of 64 x 96 px {timing.ratio:.2f}, over paired rounds"
        )
        assert timing.ratio < 1, f"a save costs {timing.ratio:.2f} train steps, expected below 1"


@pytest.mark.benchmark(group="one epoch")
def test_epoch(timer: Timer, session: "Session", tmp_path: Path) -> None:
    """Train steps on freshly decoded batches, evaluation of the pool, checkpoint."""
    from harness.records.records import EvalRecord
    from harness.training.checkpoint import CheckpointStore
    from harness.training.trainer import TrainerOptions

    records: list[Any] = []
    options = TrainerOptions(
        observers=(records.append,), store=CheckpointStore(tmp_path), meta=session.meta()
    )
    trainer = session.trainer(options)
    trainer.run(until=1)  # traces, and decodes the evaluation's batches
    epochs = count(2)
    timing = timer(lambda: trainer.run(until=next(epochs)), rounds=5)
    assert timing.result == "finished"
    scores = [record for record in records[1:] if isinstance(record, EvalRecord)][1:]
    assert all(math.isfinite(score.mean_epe) for score in scores)
    if timing.seconds is not None:
        parts = {
            "eval_seconds": statistics.median(s.eval_seconds for s in scores),
            "bn_recal_seconds": statistics.median(s.bn_recal_seconds for s in scores),
        }
        timer.note(steps=trainer.steps_per_epoch, **parts)
        timer.report.lines["epoch"] = _epoch_text(timing.seconds, parts, session)


def _epoch_text(seconds: float, parts: dict[str, float], session: "Session") -> str:
    config = session.config.eval
    steps = session.config.train.steps_per_epoch
    return (
        f"{seconds:.4f} s for {steps} train steps, one checkpoint and one evaluation (K="
        f"{config.eval_batches_per_arch}: eval {parts['eval_seconds']:.4f} s, R="
        f"{config.bn_recal_batches}: BN-recal {parts['bn_recal_seconds']:.4f} s)"
    )
