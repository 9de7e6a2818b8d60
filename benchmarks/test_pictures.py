"""What pictures cost while training: epochs with and without them, in turn, by processor time."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
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
_OWN = {
    "train.epoch_mode": "fixed_steps", "train.steps_per_epoch": 40, "train.batch_size": 8,
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


@pytest.mark.slow
@pytest.mark.benchmark(group="one epoch, pictured")
def test_pictured_epoch(timer: Timer, whole: "Session", tmp_path: Path) -> None:
    """The share is by a clock around all that pictures take; an epoch's own noise is larger."""
    from harness.reporting.tensorboard import TensorBoardObserver
    from harness.runs.pictures import PictureRecorder, evaluation
    from harness.training.trainer import TrainerOptions

    board = TensorBoardObserver(tmp_path / "tensorboard")
    taking: list[float] = []
    pictured = evaluation(whole, (PictureRecorder(tmp_path), board))

    real = type(whole).evaluate

    def clocked(session: Any, weights: Any, epoch: int, *, look: Any, **options: Any) -> Any:
        def looked(*found: Any) -> None:
            start = process_time()
            look(*found)
            taking.append(process_time() - start)

        return real(session, weights, epoch, look=looked, **options)

    trainer = whole.trainer(TrainerOptions())
    spent: dict[str, list[float]] = {"with": [], "without": []}

    def epoch(name: str, scores: Callable[..., Any]) -> Callable[[], str]:
        def run() -> str:
            trainer.surround(TrainerOptions(), scores)
            start = process_time()
            status = trainer.run(until=trainer.progress.epoch + 1)
            spent[name].append(process_time() - start)
            return status

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(whole), "evaluate", clocked)
        timing = timer(
            epoch("with", pictured), rounds=_ROUNDS,
            reference=epoch("without", lambda *args, **options: real(whole, *args, **options)),
        )  # fmt: skip
    assert timing.result == "finished"
    files = [path.stat().st_size for path in (tmp_path / "pictures").glob("epoch-*")]
    if timing.seconds is None:
        return
    pairs = list(zip(spent["with"], spent["without"], taking, strict=True))[1:]
    ratio = median(on / off for on, off, _ in pairs)
    share = median(took / off for _, off, took in pairs)
    timer.note(**_OWN, share=share, ratio=ratio, bytes_of_an_epoch=max(files))
    off, took = (median(values) for values in list(zip(*pairs, strict=True))[1:])
    timer.report.lines["pictured epoch"] = (
        f"{off:.2f} s of processor time without pictures; they take {1e3 * took:.1f} ms, "
        f"{share:.3%} of it ({1e3 * taking[0]:.0f} ms in the first epoch, which traces functions), "
        f"and {max(files) / 2**10:.0f} KiB; ratio of paired epochs {ratio:.4f}"
    )
    assert share < _LIMIT
