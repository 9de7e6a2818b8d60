"""Ctrl-C, SIGTERM and a hangup: the first is answered in a line, the second ends at once."""

import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.commands.interrupts import until_interrupted
from harness.config import dump_config, with_overrides
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import matrix_config
from harness.runs.stop import StopFlag, handled
from tests.run_directories import require_equal

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ROOT = Path(__file__).parents[1]


def send(number: int) -> None:
    """Send this process a signal, and let its handler run."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


def test_a_signal_that_somebody_has_swallowed_is_told_all_the_same(capsys):
    def run():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:  # as an import of C code may make another error of it
            pass
        return 1

    assert until_interrupted(["doctor"], run) == 75
    assert "harness doctor: interrupted" in capsys.readouterr().err


def test_an_interrupt_leaves_ignored_what_was_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        def run() -> int:
            send(signal.SIGINT)
            return 0

        assert until_interrupted(["audit", "a run"], run) == 75
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", ENDS)
def test_a_command_that_is_interrupted_says_how_to_go_on(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> int:
        send(number)
        return 0

    before = [signal.getsignal(one) for one in ENDS]
    assert until_interrupted(["audit", "a run", "--json", "x"], run) == 75
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "harness audit: interrupted; what is there is whole, the same command goes on: "
        "harness audit 'a run' --json x"
    ]
    assert told.out == ""
    assert [signal.getsignal(one) for one in ENDS] == before


def test_an_interrupt_that_becomes_another_error_is_still_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run() -> int:
        try:
            send(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError from None
        return 0

    assert until_interrupted(["eval"], run) == 75
    assert "harness eval: interrupted" in capsys.readouterr().err
    with pytest.raises(ImportError):
        until_interrupted(["eval"], lambda: int(bool(__import__("no_such_module"))))


def test_every_command_is_interrupted_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.fc2.synthetic.write_dataset", lambda *_, **__: send(signal.SIGINT))
    assert main(["synth", str(tmp_path / "fc2"), "--train", "1", "--val", "1"]) == 75
    assert f"goes on: harness synth {tmp_path / 'fc2'} --train 1" in capsys.readouterr().err


def test_what_was_started_to_ignore_them_goes_on_ignoring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {one: signal.signal(one, signal.SIG_IGN) for one in ENDS}
    came: list[int] = []
    try:
        with handled(ENDS, lambda number, _: came.append(number)):
            for one in ENDS:
                send(one)
        with StopFlag() as stop:
            send(signal.SIGHUP)
            assert not stop()
        assert came == [signal.SIGTERM]
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


SAVING = """
import sys, time
from harness.runs.stop import StopFlag
with StopFlag() as stop:
    print("ready", flush=True)
    while not stop():
        time.sleep(0.01)
    print("saved", flush=True)
    time.sleep(float(sys.argv[1]))
print("done", flush=True)
"""


@pytest.mark.parametrize("number", [*ENDS, signal.SIGUSR1])
@pytest.mark.parametrize("twice", [False, True])
def test_the_first_saves_and_the_second_ctrl_c_ends_at_once(number: int, twice: bool) -> None:
    words = [sys.executable, "-c", SAVING, "60" if twice and number == signal.SIGINT else "0.3"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == b"saved\n"
        if twice:
            process.send_signal(number)
        out, error = process.communicate(timeout=20)
    if twice and number == signal.SIGINT:
        assert (process.returncode, out) == (-signal.SIGINT, b"")
    else:  # SLURM sends several
        assert (process.returncode, out) == (0, b"done\n")
    told = b"\nstopping at the next step, to be resumed; Ctrl-C again ends at once\n"
    assert error == (told if number == signal.SIGINT else b"")


def test_a_run_whose_terminal_has_gone_saves(tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        code = SAVING + f"open({str(tmp_path / 'saved')!r}, 'w').close()"
        os.execv(sys.executable, [sys.executable, "-c", code, "0.1"])
    while b"ready" not in os.read(terminal, 100):
        continue
    os.close(terminal)  # the system sends SIGHUP, and writing is an error from now on
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "saved").exists()


HANGING = """
import time

class Hanging:
    def describe(self):
        open("asked", "w").close()
        time.sleep(60)
"""


@pytest.mark.slow
def test_ctrl_c_while_a_foreign_system_works_waits_for_nothing_and_blames_nobody(
    tmp_path: Path,
) -> None:
    (tmp_path / "adapter.py").write_text(HANGING)
    words = ["gate", "--system", "adapter.py:Hanging", "--gate-file", "gate.json"]
    process = started(tmp_path, words)
    wait_for(tmp_path / "asked")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert time.monotonic() - begun < 15
    assert process.returncode == 75, out + error
    assert error.splitlines()[-1].startswith("harness gate: interrupted; what is there is whole")
    for blamed in ("Traceback", "pipe", "closed", "frame of the worker"):
        assert blamed not in out + error


def started(folder: Path, words: list[str]) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *words], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def ended(process: Any) -> int:
    process.communicate(timeout=300)
    return int(process.returncode)


def wait_for(path: Path, seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    assert path.exists()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("signals")
    write_dataset(folder / "fc2", train=7, val=5, height=19, width=37)
    few = ("eval.eval_pool_size=3", "train.num_epochs=2", "eval.eval_batches_per_arch=1",
           "eval.bn_recal_batches=1", "train.batch_size=5")  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(dump_config(with_overrides(matrix_config(folder / "fc2"), few)))
    return path


@pytest.mark.nightly
def test_ctrl_c_of_a_run_is_resumed_by_the_command_that_it_prints(
    config: Path, tmp_path: Path
) -> None:
    words = ["train", "--config", str(config), "--run"]
    assert ended(started(tmp_path, [*words, "straight"])) == 0
    process = started(tmp_path, [*words, "a run"])
    wait_for(tmp_path / "a run" / "ledger.jsonl")
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 75, out + error
    assert "Traceback" not in out + error
    assert "stopping at the next step" in error
    command = out.splitlines()[-1]
    assert command == f"to go on: harness train --config {config} --run 'a run' --resume"
    again = shlex.split(command.removeprefix("to go on: harness "))
    assert ended(started(tmp_path, again)) == 0
    require_equal(tmp_path / "a run", tmp_path / "straight")
