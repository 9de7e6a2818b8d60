"""What is promised on a CPU holds on a GPU: `pytest tests -m gpu`, skipped where there is none."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.config import Config
from harness.environment import apply_environment
from harness.fc2.synthetic import write_dataset

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
FILES = ["--config", "run.yaml", "--fc2-root", "frames"]
HARNESS = [sys.executable, "-m", "harness"]
RUN = """
model: {skeleton: full, width: 32}
data:  {input_height: 180, input_width: 240}
train: {num_epochs: 2, epoch_mode: full_pass, batch_size: 8, clip_position: update}
eval:  {bn_recal_batches: 2, eval_batches_per_arch: full, batch_size: 4, eval_pool_size: 3}
"""


@pytest.fixture(scope="module", autouse=True)
def gpu() -> str:
    """Return the GPU's name."""
    device = apply_environment(Config()).device
    if device == "cpu":
        pytest.skip("TensorFlow finds no GPU on this machine")
    return device


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with frames and a configuration."""
    folder = tmp_path_factory.mktemp("gpu")
    write_dataset(folder / "frames", train=83, val=6, height=192, width=256)
    (folder / "run.yaml").write_text(RUN)
    return folder


def harness(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [*HARNESS, *words], capture_output=True, text=True, check=False, cwd=folder, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def cut(folder: Path, run: str) -> None:
    """Train until two steps are on record; end the run by a signal."""
    ledger = folder / run / "ledger.jsonl"
    command = [*HARNESS, "train", *FILES, "--run", run]
    with subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        while process.poll() is None and steps(ledger) < 2:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate()
    assert process.returncode == 75, error.decode()  # interrupted, resumable


def steps(ledger: Path) -> int:
    return ledger.read_text().count('"step"') if ledger.exists() else 0


def gate(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "invariants", *words], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def assert_green(process: "subprocess.Popen[str]", gpu: str) -> None:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "GATE GREEN" in output
    assert gpu in output


def test_the_doctor_names_no_operation(gpu: str, folder: Path) -> None:
    found = harness(folder, "doctor")
    assert gpu in found
    assert found.count("deterministic") > 3


def test_two_runs_a_resume_and_an_evaluation_elsewhere_are_equal_to_the_last_bit(
    folder: Path,
) -> None:
    harness(folder, "train", *FILES, "--run", "straight")
    harness(folder, "train", *FILES, "--run", "again")
    cut(folder, "cut")
    harness(folder, "train", *FILES, "--run", "cut", "--resume")
    harness(folder, "digest", "straight", "again")  # exit code 0: all is equal
    harness(folder, "digest", "straight", "cut")
    words = ["eval", "--run", "straight", "--checkpoint", "last", "--json", "eval.json"]
    assert "equal to the last bit" in harness(folder, *words)
    assert json.loads((folder / "eval.json").read_text())["environment"]["device"] != "cpu"


def test_the_quick_gate_is_green(gpu: str) -> None:
    assert_green(gate(), gpu)


def test_the_full_gate_is_green(gpu: str) -> None:
    assert_green(gate("--tier", "full"), gpu)


def test_two_gates_at_once_are_green(gpu: str) -> None:
    both = [gate(), gate()]
    for process in both:
        assert_green(process, gpu)
