"""A run directory that tests crash, resume, change and repair, in one process.

Its fixtures are of a module each: what compiles, and the run that nothing disturbed, take long.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.commands.observers import run_observers
from harness.config import Config, with_overrides
from harness.environment import apply_environment
from harness.errors import InputError
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import matrix_config
from harness.records.ledger import Ledger
from harness.records.records import RunRecord, from_json, to_json
from harness.runs.run_directory import RunOptions, train_run
from harness.training.checkpoint import CheckpointStore
from harness.training.epochlog import EpochCsv
from tests.chains import unchained
from tests.run_directories import require_equal


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "fc2", train=7, val=5, height=19, width=37)
    few = ("eval.eval_pool_size=3", "train.num_epochs=2", "eval.eval_batches_per_arch=1",
           "eval.bn_recal_batches=1", "checkpoint.every_steps=1",
           # Runs with pictures are in test_pictured_runs.py.
           "train.batch_size=5", "train.micro_batch_size=null", "runtime.pictures=0")  # fmt: skip
    found = with_overrides(matrix_config(folder / "fc2"), few)
    apply_environment(found)
    return found


@pytest.fixture(scope="module")
def cache(config: Config) -> Any:
    from harness.runs.session import CompiledCache

    return CompiledCache()


def train(config: Config, folder: Path, cache: Any, **options: Any) -> Any:
    acquired = []
    real = cache.acquire

    def acquire(*args: Any) -> Any:
        acquired.append(real(*args))
        return acquired[-1]

    cache.acquire = acquire
    try:
        return train_run(
            config, folder, RunOptions(cache=cache, observers=run_observers, **options)
        )
    finally:
        cache.acquire = real
        for one in acquired:
            cache.release(one)


@pytest.fixture(scope="module")
def straight(config: Config, cache: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "straight"
    code = {"commit": "0" * 40, "dirty": False}
    assert train(config, folder, cache, code=lambda: code).status == "finished"
    return folder


class Crash(BaseException):
    """What nothing catches, as a kill would."""


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def at(owner: Any, name: str, call: int, *, after: bool = False) -> None:
        real, calls = getattr(owner, name), []

        def crash(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == call and not after:
                raise Crash
            found = real(*args, **kwargs)
            if len(calls) == call:
                raise Crash
            return found

        monkeypatch.setattr(owner, name, crash)

    return at


POINTS: dict[str, tuple[Any, str, int, bool]] = {
    "before the first record": (Ledger, "__call__", 1, False),
    "before the first step is recorded": (Ledger, "__call__", 2, False),
    "before the first checkpoint is pointed at": (CheckpointStore, "_point", 1, False),
    "before epoch 1 is saved, ahead of its evaluation": (CheckpointStore, "save", 2, False),
    "as that is pointed at": (CheckpointStore, "_point", 2, False),
    "after that": (CheckpointStore, "save", 2, True),
    "before the norms of epoch 1": (Ledger, "__call__", 5, False),
    "before the scores of epoch 1": (Ledger, "__call__", 6, False),
    "before the checkpoint of epoch 1": (CheckpointStore, "save", 3, False),
    "between best and last": (CheckpointStore, "_point", 4, False),
    "before the first save goes": (CheckpointStore, "_discard_others", 3, False),
    "between checkpoint and its record": (Ledger, "__call__", 7, False),
    "between checkpoint and row": (Ledger, "__call__", 8, False),
    "between ledger row and CSV row": (EpochCsv, "__call__", 8, False),
    "after the last row": (EpochCsv, "__call__", 15, True),
}


def require_repaired(
    point: str, config: Config, cache: Any, straight: Path, folder: Path, crashing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Crash a run at a point, resume it, and require it to be as one that never crashed."""
    owner, name, call, after = POINTS[point]
    crashing(owner, name, call, after=after)
    with pytest.raises(Crash):
        train(config, folder, cache)
    monkeypatch.undo()
    assert train(config, folder, cache, resume=True).status == "finished"
    require_equal(folder, straight)
    assert main(["audit", str(folder)]) == 0


def require_replaced_frames_refused(split: str, config: Config, cache: Any, folder: Path) -> None:
    """Require a resume to refuse a frame that was replaced, and to go on once it is restored."""
    run, fc2 = folder / "run", folder / "fc2"
    shutil.copytree(config.data.base_path, fc2)
    moved = changed_config(config, f"data.base_path={fc2}")
    train(moved, run, cache, until=1)
    first, second = sorted((fc2 / split).glob("*-img_0.png"))[:2]
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    before = (run / "ledger.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"files have been replaced\. Restore them"):
        train(moved, run, cache, resume=True)
    assert (run / "ledger.jsonl").read_bytes() == before
    first.write_bytes(kept)
    assert train(moved, run, cache, resume=True).status == "finished"


def changed_config(config: Config, *assignments: str) -> Config:
    return with_overrides(config, assignments)


def edit_first_record(folder: Path, change: Any) -> None:
    path = folder / "ledger.jsonl"
    first, *rest = unchained(path)
    record = from_json(json.loads(first))
    assert isinstance(record, RunRecord)
    path.write_text("\n".join([json.dumps(to_json(change(record))), *rest, ""]))


def page(folder: Path) -> str:
    """Return the report on a run."""
    out = folder.with_suffix(".html")
    assert main(["report", str(folder), "--out", str(out), "--across-segments"]) == 0
    return out.read_text()
