"""What is promised on a CPU holds on a GPU: `pytest tests -m gpu`, skipped where there is none."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
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


def harness(folder: Path, *words: str, code: int = 0, **variables: str) -> str:
    done = subprocess.run(
        [*HARNESS, *words], capture_output=True, text=True, check=False, cwd=folder,
        env=ENVIRONMENT | variables,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
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


def test_memory_that_does_not_suffice_is_one_line(folder: Path) -> None:
    words = ["train", *FILES, "--run", "small", "--set", "runtime.gpu_memory_mib=64"]
    told = harness(folder, *words, code=2)
    assert "Traceback" not in told
    (line,) = (line for line in told.splitlines() if "out of memory (pid " in line)
    assert "shape [" in line


@pytest.mark.parametrize(
    ("index", "visible", "message"),
    [
        ("0", "-1", "TensorFlow sees no GPUs (CUDA_VISIBLE_DEVICES is '-1'"),
        ("99", "0", "train.gpu_device is 99, but TensorFlow sees 1 GPU"),
    ],
)
def test_a_gpu_that_was_asked_for_and_is_not_there_is_one_line(
    index: str, visible: str, message: str, folder: Path
) -> None:
    words = ["train", *FILES, "--run", "absent", "--set", f"train.gpu_device={index}"]
    told = harness(folder, *words, code=2, CUDA_VISIBLE_DEVICES=visible)
    assert message in told
    assert "Traceback" not in told


def test_the_quick_gate_is_green(gpu: str) -> None:
    assert_green(gate(), gpu)


def test_the_full_gate_is_green(gpu: str) -> None:
    assert_green(gate("--tier", "full"), gpu)


def test_two_gates_at_once_are_green(gpu: str) -> None:
    both = [gate(), gate()]
    for process in both:
        assert_green(process, gpu)


def test_scores_have_the_same_bits_in_any_company_and_memory_is_bounded() -> None:
    import tensorflow as tf

    from harness.evaluation.on_device import scoring_bytes
    from harness.supernet.sharing.memory import device_bytes
    from tests.test_device_scores import CROP, POOL, SAMPLES, WIDTH, Made, parted

    made = Made("full")
    assert made.evaluator.scored_on == "device"
    for pool, sizes in ((POOL[::-1], [5]), (POOL[2:9], [1, 4]), (POOL[:1], [2, 2, 1])):
        batches = parted(SAMPLES, sizes)
        found = made.of(replace(made.protocol, pool=pool, eval_batches=batches))
        assert found == {name: made.scores[name] for name in found}
    memory = tf.config.experimental
    memory.reset_memory_stats("GPU:0")
    before = memory.get_memory_info("GPU:0")["current"]
    made.of(made.protocol)
    used = memory.get_memory_info("GPU:0")["peak"] - before
    at_once = made.evaluator.samples_at_once(*CROP)
    workspace = 4 << 30  # what TensorFlow lets a convolution ask for
    assert used <= device_bytes("full", WIDTH, CROP, at_once, scoring_bytes()) + workspace
