"""Training with any number of loader threads: the same run, the same errors, no thread left."""

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.commands.common import StopFlag
from harness.config import Config, with_fc2_root, with_overrides
from harness.digest import digest_arrays
from harness.environment import apply_environment
from harness.fc2.errors import SampleError
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import matrix_config
from harness.records.records import EpochRecord, EvalRecord, StepRecord
from harness.training.progress import Progress
from harness.training.trainer import TrainerOptions
from tests.run_directories import without_clock
from tests.training_runs import cache

__all__ = ["cache"]

LOADERS = [(0, 0), (1, 0), (3, 2)]
"""Threads, and batches ahead."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "fc2", train=11, val=5, height=19, width=37)
    few = ("eval.eval_pool_size=2", "train.num_epochs=2", "train.batch_size=3",
           "train.micro_batch_size=3", "eval.eval_batches_per_arch=1",
           "eval.bn_recal_batches=1")  # fmt: skip
    found = with_overrides(matrix_config(folder / "fc2"), few)
    apply_environment(found)
    return found


def with_loaders(config: Config, workers: int, prefetch: int) -> Config:
    keys = (f"data.num_workers={workers}", f"data.prefetch_batches={prefetch}")
    return with_overrides(config, keys)


def attempt(
    config: Config, cache: Any, records: list[Any], state: Any = None, **options: Any
) -> Any:
    """Train from a state to the end or to a stop; return how it ended and the state then."""
    from harness.runs.session import open_session

    session = open_session(config, cache=cache)
    try:
        trainer = session.trainer(TrainerOptions(observers=(records.append,), **options))
        if state is not None:
            session.model.set_state(state[0])
            trainer.progress = Progress.from_state(state[1])[0]
        status = trainer.run()
        return status, (session.model.get_state(), trainer.progress.get_state())
    finally:
        cache.release(session.compiled)


def told(records: list[Any]) -> list[dict[str, Any]]:
    kinds = (StepRecord, EvalRecord, EpochRecord)
    return [without_clock(record) for record in records if isinstance(record, kinds)]


def loaders() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("loader")]


@pytest.fixture(scope="module")
def straight(config: Config, cache: Any) -> tuple[list[dict[str, Any]], str]:
    records: list[Any] = []
    status, state = attempt(with_loaders(config, 0, 0), cache, records)
    assert status == "finished"
    return told(records), digest_arrays(state[0])


@pytest.mark.parametrize(("workers", "prefetch"), LOADERS[1:])
def test_workers_and_prefetch_change_no_weight_and_no_record(
    workers: int, prefetch: int, config: Config, cache: Any, straight: Any
) -> None:
    """A SIGTERM within epoch 1 stops the run; it goes on with other loaders to the same end."""
    records: list[Any] = []

    def kill(epoch: int, step: int, outcome: object) -> None:
        if (epoch, step) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    with StopFlag() as stop:
        status, state = attempt(
            with_loaders(config, workers, prefetch), cache, records, probe=kill, should_stop=stop
        )
    assert (status, state[1]["epoch"], state[1]["step"]) == ("interrupted", 0, 2)
    assert loaders() == []
    status, state = attempt(with_loaders(config, prefetch, workers), cache, records, state)
    assert status == "finished"
    assert loaders() == []
    assert told(records) == straight[0]
    assert digest_arrays(state[0]) == straight[1]


@pytest.mark.parametrize(("workers", "prefetch"), LOADERS)
def test_a_bad_file_is_named_at_the_step_of_its_batch(
    workers: int, prefetch: int, config: Config, cache: Any, straight: Any, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(config.data.base_path, tmp_path / "fc2"))
    broken = with_fc2_root(with_loaders(config, workers, prefetch), root)
    from harness.fc2.provider import open_provider

    provider = open_provider(broken, "train", "train")
    third, fourth = provider.order(1)[2:]
    for index in (third[1], third[2], fourth[0]):  # the first in order is the one to be named
        flow = provider.samples[index].flow
        flow.write_bytes(flow.read_bytes()[:-8])
    records: list[Any] = []
    name = provider.samples[third[1]].flow.name
    with pytest.raises(SampleError, match=f"{name}: expected .* bytes for 37 x 19"):
        attempt(broken, cache, records)
    assert told(records) == straight[0][:2]
    assert loaders() == []


def test_an_error_of_the_step_leaves_no_loader(config: Config, cache: Any) -> None:
    def refuse(epoch: int, step: int, outcome: object) -> None:
        raise FloatingPointError(f"step {step}")

    with pytest.raises(FloatingPointError, match="step 1") as caught:
        attempt(with_loaders(config, 3, 2), cache, [], probe=refuse)
    assert caught.traceback  # which holds every frame, the loader's too
    assert loaders() == []


def test_what_a_run_passes_over_is_said_before_it_trains(
    tmp_path: Path, config: Config, cache: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.runs.session import open_session

    shutil.copytree(config.data.base_path, tmp_path / "fc2")
    for split in ("train", "val"):
        shutil.copytree(tmp_path / "fc2" / split, tmp_path / "fc2" / split / ".Trash-1000")
    moved = with_fc2_root(config, tmp_path / "fc2")
    session = open_session(moved, cache=cache)
    cache.release(session.compiled)
    assert len(session.provider.samples) == 11
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"note: {tmp_path}/fc2/{split}: passed over: 1 hidden folder (.Trash-1000)"
        for split in ("train", "val")
    ]
