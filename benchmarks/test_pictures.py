"""What pictures cost while training: epochs with and without them, in turn, by processor time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import process_time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.timer import Timer
from harness.commands.common import with_fc2_root
from harness.config import Config, with_overrides
from harness.environment import Environment
from harness.fc2.synthetic import write_dataset

if TYPE_CHECKING:  # imports TensorFlow, which the environment must precede
    from harness.runs.session import Session

_ROUNDS, _LIMIT = 3, 0.01
_STEPS, _TIMED = 40, 4
"""Steps of an epoch, and those that are timed of it: all of them cost the same."""

_OWN = {
    "train.epoch_mode": "fixed_steps", "train.steps_per_epoch": _TIMED, "train.batch_size": 8,
    "train.micro_batch_size": 8, "eval.batch_size": 8, "eval.eval_pool_size": 12,
    "eval.bn_recal_batches": 8, "eval.eval_batches_per_arch": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(
    setting: Config, environment: Environment, tmp_path_factory: pytest.TempPathFactory  # noqa: ARG001
) -> "Session":  # fmt: skip
    """Return a session whose evaluation has as many samples as are asked for."""
    from harness.runs.session import open_session

    root = tmp_path_factory.mktemp("frames") / "synthetic"
    write_dataset(root, train=64, val=32, height=384, width=512)
    overridden = with_overrides(setting, [f"{key}={value}" for key, value in _OWN.items()])
    return open_session(with_fc2_root(overridden, root))


@dataclass
class _Epochs:
    """Trains an epoch at a time, and keeps its processor seconds.

    Attributes
    ----------
    seconds : list of float
        Of each epoch, its steps scaled to as many as an epoch has.
    """

    run: Callable[[Callable[..., Any]], str]
    evaluate: Callable[..., Any]
    seconds: list[float] = field(default_factory=list)

    def __call__(self) -> str:
        scoring: list[float] = []

        def clocked(*arguments: Any, **options: Any) -> Any:
            start = process_time()
            try:
                return self.evaluate(*arguments, **options)
            finally:
                scoring.append(process_time() - start)

        start = process_time()
        status = self.run(clocked)
        steps = process_time() - start - sum(scoring)
        self.seconds.append(_STEPS / _TIMED * steps + sum(scoring))
        return status


@pytest.mark.slow
@pytest.mark.benchmark(group="one epoch, pictured")
def test_pictured_epoch(timer: Timer, whole: "Session", tmp_path: Path) -> None:
    """The share is by a clock around all that pictures take; an epoch's own noise is larger."""
    from harness.reporting.tensorboard import TensorBoardObserver
    from harness.runs import pictures
    from harness.training.trainer import TrainerOptions

    trainer, taking = whole.trainer(TrainerOptions()), list[float]()
    observers = (pictures.PictureRecorder(tmp_path), TensorBoardObserver(tmp_path / "tensorboard"))

    def epoch(evaluate: Callable[..., Any]) -> str:
        trainer.surround(TrainerOptions(), evaluate)
        return trainer.run(until=trainer.progress.epoch + 1)

    def evaluate(weights: Any, number: int, *, look: Any = None, **options: Any) -> Any:
        def clocked(*found: Any) -> None:
            start = process_time()
            look(*found)
            taking.append(process_time() - start)

        looked = {} if look is None else {"look": clocked}
        return type(whole).evaluate(whole, weights, number, **looked, **options)

    watched = SimpleNamespace(**vars(whole), evaluator=whole.evaluator, evaluate=evaluate)
    on = _Epochs(epoch, pictures.evaluation(watched, observers))  # type: ignore[arg-type]
    off = _Epochs(epoch, evaluate)
    timing = timer(on, rounds=_ROUNDS, reference=off)
    assert timing.result == "finished"
    if timing.seconds is None:
        return
    size = max(path.stat().st_size for path in (tmp_path / "pictures").glob("epoch-*"))
    pairs = list(zip(on.seconds, off.seconds, taking, strict=True))[1:]
    ratio = median(one / other for one, other, _ in pairs)
    share = median(took / other for _, other, took in pairs)
    timer.note(**_OWN, steps=_STEPS, share=share, ratio=ratio, bytes_of_an_epoch=size)
    bare, took = (median(values) for values in list(zip(*pairs, strict=True))[1:])
    timer.report.lines["pictured epoch"] = (
        f"{bare:.2f} s of processor time without pictures ({_STEPS} steps, of which {_TIMED} are "
        f"timed); they take {1e3 * took:.1f} ms, {share:.3%} of it ({1e3 * taking[0]:.0f} ms in "
        f"the first epoch, which traces functions), and {size / 2**10:.0f} KiB; ratio of paired "
        f"epochs {ratio:.4f}"
    )
    assert share < _LIMIT
