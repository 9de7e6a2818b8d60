"""``harness eval --pool all``: every arch, exactly, and a kill costs one subtree."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.config import dump_config, parse_config
from harness.fc2.synthetic import write_dataset

HARNESS = [sys.executable, "-m", "harness"]
TREE: dict[str, Any] = {
    "model": {"width": 1},
    "data": {"input_height": 16, "input_width": 32},
    "train": {"num_epochs": 1, "epoch_mode": "full_pass", "batch_size": 3, "micro_batch_size": 2},
    "eval": {"eval_pool_size": 3, "bn_recal_batches": 2, "eval_batches_per_arch": 2},
}


def run(*words: object, code: int = 0) -> str:
    done = subprocess.run(
        [*HARNESS, *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    write_dataset(folder / "fc2", train=7, val=5, height=24, width=40)
    config = parse_config({**TREE, "data": {**TREE["data"], "base_path": str(folder / "fc2")}})
    (folder / "run.yaml").write_text(dump_config(config))
    run("train", "--config", folder / "run.yaml", "--run", folder / "run",
        "--fc2-root", folder / "fc2")  # fmt: skip
    return folder / "run"


def end_after(lines: int, scores: Path, command: list[str], by: signal.Signals, code: int) -> str:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    limit = time.monotonic() + 200
    while time.monotonic() < limit and process.poll() is None:
        if scores.exists() and scores.read_bytes().count(b"\n") > lines:
            process.send_signal(by)
            break
        time.sleep(0.01)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output.decode()
    return output.decode()


@pytest.mark.nightly
def test_the_whole_space_is_scored_and_a_killed_evaluation_goes_on(
    trained: Path, tmp_path: Path
) -> None:
    words = ["eval", "--run", str(trained), "--checkpoint", "last"]
    space, scores = tmp_path / "space.json", tmp_path / "space.scores.jsonl"
    command = [*HARNESS, *words, "--pool", "all", "--json", str(space)]
    text = end_after(40, scores, command, signal.SIGTERM, 75)
    assert f"interrupted; the same command goes on from {scores}" in text
    end_after(200, scores, command, signal.SIGKILL, -signal.SIGKILL)
    before = scores.read_bytes().splitlines()
    text = run(*words, "--pool", "all", "--json", space)
    assert f"{len(before) - 1} of 243 pieces are there" in text
    assert scores.read_bytes().splitlines()[: len(before) - 1] == before[:-1]
    found = json.loads(space.read_text())
    assert len(set(found["archs"])) == 19683
    sample = found["archs"][::1640]
    (tmp_path / "pool.json").write_text(json.dumps(sample))
    run(*words, "--pool", tmp_path / "pool.json", "--json", tmp_path / "some.json")
    some = json.loads((tmp_path / "some.json").read_text())
    together = dict(zip(found["archs"], found["per_arch_epe"], strict=True))
    assert some["per_arch_epe"] == [together[arch] for arch in sample]
    text = run(*words, "--pool", "all", "--batches-per-arch", 1, "--json", space, code=2)
    assert "space.scores.jsonl: holds another evaluation, eval_batch_hash: found" in text


@pytest.mark.nightly
def test_all_scores_have_the_same_bits_for_any_threads_and_splits() -> None:
    script = Path(__file__).with_name("space_digests.py")
    found = []
    for threads, *splits in ((2, 0, 4, -1), (1, 0)):
        command = [sys.executable, str(script), str(threads), *map(str, splits)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr
        found += [json.loads(line) for line in done.stdout.splitlines()]
    assert [count for *_, count in found] == [19683] * 4
    assert len({tuple(digests) for digests in found}) == 1, found
