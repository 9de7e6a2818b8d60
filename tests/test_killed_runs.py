"""A run that is killed by SIGKILL at random moments ends as the one that is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.config import dump_config, with_overrides
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import matrix_config
from harness.streams import integer
from tests.run_directories import require_equal

KILLS = 20


def start(config: Path, folder: Path) -> "subprocess.Popen[bytes]":
    words = ["train", "--config", str(config), "--run", str(folder)]
    resume = ["--resume"] if (folder / "config.yaml").exists() else []
    log = (folder.parent / f"{folder.name}.log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *words, *resume], stdout=log, stderr=log,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )  # fmt: skip


def lines(folder: Path) -> int:
    ledger = folder / "ledger.jsonl"
    return len(ledger.read_bytes().splitlines()) if ledger.exists() else 0


def kill_or_end(
    process: "subprocess.Popen[bytes]", folder: Path, seconds: float, many: int
) -> bool:
    """Wait until the ledger has `many` more records, then a time, then kill; False: it ended."""
    begun, limit = lines(folder), time.monotonic() + 120
    while lines(folder) - begun < many and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
    try:
        assert process.wait(timeout=seconds) == 0, (
            folder.parent / f"{folder.name}.log"
        ).read_text()
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


@pytest.mark.nightly
def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    write_dataset(tmp_path / "fc2", train=11, val=5, height=19, width=37)
    few = ("eval.eval_pool_size=3", "train.num_epochs=3", "checkpoint.every_steps=1")
    config, straight = tmp_path / "config.yaml", tmp_path / "straight"
    config.write_text(dump_config(with_overrides(matrix_config(tmp_path / "fc2"), few)))
    assert start(config, straight).wait() == 0
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        folder, attempt = tmp_path / f"run-{runs}", 0
        while True:
            attempt += 1
            many, wait = integer(7, "kills", runs, attempt, below=[12, 1000])
            if not kill_or_end(start(config, folder), folder, 0.6 * wait / 1000, many):
                break
            kills += 1
        require_equal(folder, straight)
    print(f"{kills} kills in {runs} runs, all equal to the straight one")  # noqa: T201
