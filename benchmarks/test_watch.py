"""What recording and checking while training costs: ledger, watch, log, finite checks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.timer import Timer
from harness.config import Config, with_overrides
from harness.environment import Environment

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.runs.session import Session
    from harness.training.trainer import Trainer

_STEPS, _ROUNDS, _LIMIT = 2, 2, 0.01
_OWN = {
    "data.input_height": 180, "data.input_width": 240, "model.width": 8,
    "train.batch_size": 4, "train.micro_batch_size": 2, "train.steps_per_epoch": _STEPS,
    "eval.eval_pool_size": 2, "eval.eval_batches_per_arch": 1, "eval.bn_recal_batches": 1,
}  # fmt: skip


@dataclass
class _Clock:
    """Seconds spent in each of several functions, since the last reset."""

    seconds: dict[str, float] = field(default_factory=dict)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        self.seconds[name] = 0.0

        def timed(*arguments: Any) -> Any:
            start = perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds[name] += perf_counter() - start

        return timed

    def take(self) -> dict[str, float]:
        taken = dict(self.seconds)
        self.seconds.update(dict.fromkeys(taken, 0.0))
        return taken


@pytest.fixture(scope="module")
def large(setting: Config, environment: Environment) -> "Session":  # noqa: ARG001
    """Return a session at EdgeFlowNAS's crop, with an evaluation that costs next to nothing."""
    from harness.runs.session import open_session

    return open_session(with_overrides(setting, [f"{key}={value}" for key, value in _OWN.items()]))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """Return a clock that the trainer's finite check runs under."""
    from harness.training import trainer

    found = _Clock()
    check = found.wrap("finite check", trainer.require_finite_outcome)
    monkeypatch.setattr(trainer, "require_finite_outcome", check)
    return found


@pytest.fixture
def observers(large: "Session", clock: _Clock, tmp_path: Path) -> Iterator[tuple[Any, ...]]:
    """Return ledger, epoch log and watch, each under the clock."""
    from harness.records.ledger import Ledger
    from harness.training.epochlog import EpochCsv
    from harness.watch import Watch

    ledger, said = Ledger(tmp_path / "ledger.jsonl"), list[str]()
    watch = Watch(large.config.watch.model_dump(), say=said.append, observers=(ledger,))
    found = {"ledger": ledger, "log": EpochCsv(tmp_path / "epochs.csv"), "watch": watch}
    yield tuple(clock.wrap(name, observer) for name, observer in found.items())
    ledger.close()


def _finite_seconds(session: "Session") -> float:
    """Return the seconds of the step's finite scalar, compiled on its own."""
    import tensorflow as tf

    model = session.model
    pairs = [value for pair in model.moving.values() for value in pair]
    state = [*model.weights.values(), *pairs]

    @tf.function(autograph=False)
    def finite() -> Any:
        return tf.math.is_finite(tf.linalg.global_norm([v.read_value() for v in state]))

    assert bool(finite())
    found = []
    for _ in range(30):
        start = perf_counter()
        bool(finite())
        found.append(perf_counter() - start)
    return median(found)


def _epochs(
    trainer: "Trainer", session: "Session", observers: tuple[Any, ...]
) -> Callable[[], str]:
    """Return a function that trains and evaluates the next epoch under the observers."""
    from harness.training.trainer import TrainerOptions

    def epoch() -> str:
        trainer.surround(TrainerOptions(observers=observers), session.evaluate)
        return trainer.run(until=trainer.progress.epoch + 1)

    return epoch


@pytest.mark.benchmark(group="one epoch, watched")
def test_watched_epoch(
    timer: Timer, large: "Session", clock: _Clock, observers: tuple[Any, ...]
) -> None:
    """Epochs with and without observers, in turn; the share is by clocks around each part."""
    from harness.training.trainer import TrainerOptions

    trainer = large.trainer(TrainerOptions())
    observers[-1](large.run_record(trainer, 1))
    spent: list[dict[str, float]] = []
    watched, bare = (_epochs(trainer, large, chosen) for chosen in (observers, ()))

    def epoch() -> str:
        status = watched()
        spent.append(clock.take())
        return status

    def unwatched() -> None:
        bare()
        clock.take()

    timing = timer(epoch, rounds=_ROUNDS, reference=unwatched)
    assert timing.result == "finished"
    if timing.seconds is None:
        return
    parts = {name: median(round_[name] for round_ in spent[1:]) for name in spent[0]}
    parts["finite scalar"] = _STEPS * _finite_seconds(large)
    share = sum(parts.values()) / timing.seconds
    timer.note(**_OWN, steps=_STEPS, parts=parts, share=share, per_unwatched_epoch=timing.ratio)
    timer.report.lines["watched epoch"] = _text(timing.seconds, timing.ratio, parts)
    assert share < _LIMIT


def _text(seconds: float, ratio: float | None, parts: dict[str, float]) -> str:
    each = ", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in parts.items())
    return (
        f"{seconds:.4f} s for {_STEPS} steps at 180 x 240 px, width 8, batch 4; watching is "
        f"{sum(parts.values()) / seconds:.3%} of it ({each}); ratio to an unwatched epoch "
        f"{ratio:.3f}, over paired rounds"
    )
