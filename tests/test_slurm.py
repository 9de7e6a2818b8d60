"""The job script for SLURM ends as the training does, and is queued again where that was cut."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "slurm.sh"
STUB = """#!/bin/bash
echo "$(basename "$0") $*" >> calls.txt
case "$(basename "$0") ${1-}" in
  "harness doctor") exit "${DOCTOR-1}" ;;
  "pytest invariants/") exit "${GATE-0}" ;;
  "harness train")
    trap 'echo usr1 >> calls.txt; exit 75' USR1
    [ "${TENTHS-0}" = 0 ] || echo "trap set" >> calls.txt
    for _ in $(seq "${TENTHS-0}"); do sleep 0.1; done
    exit "${TRAIN_ENDS-0}" ;;
esac
"""


@pytest.fixture
def job(tmp_path):
    """Return what starts the script among stub commands, and what reads which were called."""
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for name in ("harness", "pytest", "scontrol"):
        (stubs / name).write_text(STUB)
        (stubs / name).chmod(0o755)

    def start(**variables):
        path = f"{stubs}{os.pathsep}{os.environ['PATH']}"
        slurm = {"SLURM_JOB_NAME": "one", "SLURM_JOB_ID": "7", "PATH": path}
        environment = {**os.environ, **slurm, **variables}
        return subprocess.Popen(["bash", str(SCRIPT)], cwd=tmp_path, env=environment)

    def calls():
        text = (tmp_path / "calls.txt").read_text() if (tmp_path / "calls.txt").exists() else ""
        return [" ".join(line.split()[:2]) for line in text.splitlines()]

    start.calls, start.folder = calls, tmp_path
    return start


@pytest.mark.parametrize("code", ["0", "1", "70"])
def test_the_job_ends_with_the_exit_code_of_the_training(job, code):
    assert job(TRAIN_ENDS=code).wait(timeout=30) == int(code)
    assert job.calls() == ["harness doctor", "pytest invariants/", "harness train"]


def test_a_run_that_ended_before_its_time_was_over_is_queued_again(job):
    assert job(TRAIN_ENDS="75").wait(timeout=30) == 75
    assert job.calls()[-1] == "scontrol requeue"


def test_the_signal_before_the_end_of_the_time_saves_and_queues_again(job):
    process = job(TENTHS="300")
    deadline = time.monotonic() + 30
    while "trap set" not in job.calls() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=30) == 75
    assert job.calls()[-2:] == ["usr1", "scontrol requeue"]


def test_a_red_gate_trains_nothing(job):
    assert job(GATE="1").wait(timeout=30) == 1
    assert job.calls() == ["harness doctor", "pytest invariants/"]


def test_a_job_that_was_queued_again_resumes_without_another_gate(job):
    run = job.folder / "runs" / "one"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    assert job(DOCTOR="0").wait(timeout=30) == 0
    assert job.calls() == ["harness doctor", "harness train"]
    assert "--resume" in (job.folder / "calls.txt").read_text()
