"""A run that one can watch: a line that goes on, on a terminal or in a log, and bars."""

import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.records.records import ResumeRecord
from harness.reporting.running import RunningLine, duration
from harness.reporting.terminal import eval_table
from tests.ledger_runs import RUN

EPOCHS = 4


class Watched:
    """A running line, the clock that it looks at, and what it says."""

    def __init__(self, *, terminal, every=120.0, history=(), until=None):
        self.now, self.shown, self.written = 0.0, [], []
        self.line = RunningLine(
            EPOCHS, show=(lambda *shown: self.shown.append(shown)) if terminal else None,
            write=self.written.append, history=history, until=until, every=every,
            clock=lambda: self.now,
        )  # fmt: skip

    def steps(self, epoch, *, seconds, waits=0.0, first=1):
        for number in range(first, 4):
            self.now += seconds
            self.line.waited(waits)
            self.line(replace(RUN.steps[0], epoch=epoch, step=number, checks=10, clipped=number))

    def epoch(self, epoch, *, seconds):
        self.now += seconds
        self.line(replace(RUN.epochs[0], epoch=epoch))


def planned(opening):
    """Return an opening of three steps an epoch, of 4, 4 and 3 samples."""
    return replace(opening, planned_sizes=((4, 2), (3, 1)))


def watched(**how):
    found = Watched(**how)
    found.line(planned(RUN.openings[0]))
    return found


def test_a_terminal_shows_each_step_its_rate_what_is_waited_for_and_the_rest():
    run = watched(terminal=True)
    run.steps(1, seconds=2.0, waits=1.5)
    run.epoch(1, seconds=5.0)
    run.steps(2, seconds=2.0, waits=1.5)
    assert run.shown[0] == ("compiles the first step", 0, 3)
    # The first step of a process compiles: no rate is told of it.
    assert run.shown[1] == ("epoch 1/4 | loss 1.518 | clipped 10% | norm 80.1", 1, 3)
    # Steps of 4, 3 and 4 samples in 2 s each; 8 steps and 3 ends of epochs are left.
    assert run.shown[4][0] == (
        "epoch 2/4 | 31 s left | loss 1.518 | clipped 10% | 1.83 samples/s | waits for decode 75% "
        "| norm 80.1"
    )
    assert [done for _, done, _ in run.shown[4:]] == [1, 2, 3]
    assert run.shown[6][0] == "epoch 2/4 | saves and evaluates"
    assert run.written == []


@pytest.mark.parametrize(("seconds", "told"), [(1.0, "3.75"), (0.01, "375"), (1e-4, "37,500")])
def test_a_rate_is_told_without_a_power_of_ten(seconds, told):
    run = watched(terminal=True)
    run.steps(1, seconds=seconds)
    run.steps(2, seconds=seconds)
    assert f" {told} samples/s " in run.shown[5][0]


def test_what_is_left_of_a_study_ends_with_the_study():
    run = watched(terminal=True, until=2)
    run.steps(1, seconds=2.0)
    run.epoch(1, seconds=5.0)
    run.steps(2, seconds=2.0)
    # Two steps of 2 s and the end of an epoch, where the plan has two epochs more.
    assert run.shown[4][0].startswith("epoch 2/4 | 9 s left")


def test_what_takes_the_time_is_compute_where_batches_are_there():
    run = watched(terminal=True)
    run.steps(1, seconds=2.0, waits=0.02)
    assert "waits for compute 99%" in run.shown[2][0]


def test_a_log_has_a_line_every_few_minutes_and_none_beside_each_epochs():
    run = watched(terminal=False)
    for epoch in (1, 2):
        run.steps(epoch, seconds=50.0)
        run.epoch(epoch, seconds=50.0)
    assert len(run.written) == 2  # at 150 s, and 150 s after the row of epoch 1
    assert run.written[0] == "epoch 1/4 | saves and evaluates | step 3/3"
    often = watched(terminal=False, every=0.0)
    often.steps(1, seconds=50.0)
    assert len(often.written) == 3
    assert run.shown == often.shown == []


def test_what_is_left_counts_from_where_a_run_goes_on():
    run = watched(terminal=True)
    run.line(ResumeRecord(2, 3, 1, 10, "digest"))
    run.steps(4, seconds=10.0, first=2)
    assert run.line.left() == []  # the last step of the last epoch
    run = watched(terminal=True)
    run.line(ResumeRecord(2, 2, 0, 6, "digest"))
    run.steps(3, seconds=10.0)
    assert run.line.left() == ["30 s left"]  # of three steps; of no epoch's end is anything known
    run.epoch(3, seconds=7.0)
    assert run.line.left() == ["37 s left"]
    run.steps(4, seconds=10.0)
    run.epoch(4, seconds=7.0)
    assert run.line.left() == []


def test_the_clip_rate_so_far_counts_what_an_epoch_did_before_it_was_cut():
    before = [replace(RUN.steps[0], epoch=epoch, step=step, checks=10, clipped=clipped)
              for epoch, step, clipped in ((1, 1, 10), (2, 1, 8), (2, 2, 9))]  # fmt: skip
    run = watched(terminal=True, history=before)
    # Of epoch 2 one step is kept, and the one after the checkpoint is made again.
    run.line(ResumeRecord(2, 1, 1, 4, "digest"))
    run.steps(2, seconds=1.0, first=2)
    assert "clipped 50%" in run.shown[1][0]  # 8 and 2 of 20
    run.epoch(2, seconds=1.0)
    run.steps(3, seconds=1.0)
    assert "clipped 10%" in run.shown[3][0]
    alone = watched(terminal=True, history=before)
    alone.steps(1, seconds=1.0)
    assert "clipped 10%" in alone.shown[1][0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (3599.6, "1:00:00 h"),
        (90_061, "25:01:01 h"),
    ],
)
def test_times_are_told_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def on_a_terminal(words, folder, **environment):
    """Run a command with standard error on a terminal; return what both streams got."""
    master, slave = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "harness", *words], cwd=folder, stdout=subprocess.PIPE, stderr=slave,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment},
    )  # fmt: skip
    os.close(slave)
    drawn = b""
    try:
        while block := os.read(master, 65536):
            drawn += block
    except OSError:  # its other end is closed
        pass
    finally:
        os.close(master)
    said, _ = done.communicate()
    assert done.returncode == 0, drawn
    return said.decode(), drawn.decode()


SYNTH = ("synth", "fc2", "--train", "3", "--val", "2", "--size", "29x43")


def test_a_bar_is_drawn_on_the_terminal_and_not_into_what_is_said(tmp_path):
    said, drawn = on_a_terminal(SYNTH, tmp_path, TERM="xterm", COLUMNS="80")
    assert said.splitlines() == ["fc2: 3 training and 2 validation samples of 29x43"]
    assert "5/5" in drawn
    assert "\x1b[9" in drawn or "\x1b[3" in drawn  # colours


def test_no_colours_where_none_are_wanted_and_no_bar_on_a_terminal_that_cannot(tmp_path):
    _, drawn = on_a_terminal(SYNTH, tmp_path, TERM="xterm", NO_COLOR="1")
    assert "5/5" in drawn
    assert "\x1b[9" not in drawn
    assert "\x1b[3" not in drawn


def test_nothing_is_drawn_where_no_terminal_looks(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harness", *SYNTH], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, check=True,
    )  # fmt: skip
    assert done.stderr == ""


def test_an_evaluation_of_one_of_each_is_told_in_the_singular():
    one = replace(
        RUN.evals[0], samples=1, batches=1, batches_asked=1, recal_batches=1, unknown_pixels=1
    )
    told = "\n".join(eval_table(one)) + "\n"
    assert "1 pixel of unknown flow left out\n" in told
    assert "on the same 1 sample\n1 batch per arch, 1 recalibration batch; labels" in told
