"""A net that an evaluation leaves in evaluation mode is named; one that freezes a part is not."""

import re
from dataclasses import replace

import pytest

from harness.promises.modes import Mode, left_in_evaluation, statistics_of_every_step
from harness.promises.training import Moves, training_moves_everything
from harness.systems.answers import AnswerError, answer
from harness.systems.protocol import Description
from tests.test_declared import judged

NET = ("net", "net.a", "net.a.conv", "net.a.norm", "net.b", "net.b.norm")


def steps(*off, names=NET):
    """Return two epochs of two steps; of the second these modules are in evaluation mode."""
    return [
        Mode(epoch, step, {name: epoch == 1 or name not in off for name in names})
        for epoch in (1, 2) for step in (1, 2)
    ]  # fmt: skip


def told(modes):
    return [str(violation) for violation in left_in_evaluation(modes)]


def test_a_net_that_stays_in_evaluation_mode_is_named_once():
    (line,) = told(steps(*NET))
    assert line == (
        "net in step 1 of epoch 2: expected training mode, as before, found evaluation mode: after "
        "an evaluation 6 of 6 submodules have training=False that had True before"
    )


def test_what_wraps_it_may_be_in_training_mode():
    (line,) = told(steps(*NET[1:]))
    assert "5 of 6 submodules" in line


@pytest.mark.parametrize(
    "off", [(), ("net.a.norm", "net.b.norm"), ("net.a", "net.a.conv", "net.a.norm")]
)
def test_a_part_that_is_frozen_is_no_breach(off):
    assert told(steps(*off)) == []


def test_what_never_was_in_training_mode_is_no_breach():
    teacher = [Mode(m.epoch, m.step, {**m.training, "teacher": False}) for m in steps()]
    assert told(teacher) == []
    frozen = [Mode(m.epoch, m.step, dict.fromkeys(NET, False)) for m in steps()]
    assert told(frozen) == []


def test_two_nets_are_looked_at_each_by_itself():
    both = [
        Mode(m.epoch, m.step, {**m.training, "other": m.epoch < 2, "other.fc": m.epoch < 2})
        for m in steps()
    ]
    (line,) = told(both)
    assert line.startswith("other in step 1 of epoch 2: ")
    assert "2 of 2 submodules" in line


STATES = Moves(
    {"w": "1", "n/moving_mean": "1", "m/moving_mean": "1", "progress/step": "1"},
    {"w": "3", "n/moving_mean": "2", "m/moving_mean": "1", "progress/step": "3"},
    {"w": "2", "n/moving_mean": "2", "m/moving_mean": "1", "progress/step": "2"},
    frozenset({"n/moving_mean", "m/moving_mean"}),
)


def violations(evidence):
    return [str(violation) for violation in training_moves_everything(evidence).violations]


def test_statistics_that_stop_at_an_evaluation_are_named():
    still, line = violations(STATES)
    assert still.startswith("m/moving_mean after training")
    assert line == (
        "moving statistics in epoch 2: expected others than after epoch 1 and its evaluation, "
        "found the same, all 1 of those that epoch 1 has moved: what was evaluated is trained on "
        "in evaluation mode"
    )
    moved = replace(STATES, after={**STATES.after, "n/moving_mean": "3", "m/moving_mean": "2"})
    assert violations(moved) == []
    untrained = replace(STATES, after={**STATES.between, "w": "2", "m/moving_mean": "2"})
    assert not any("epoch 2" in line for line in violations(untrained))
    assert not any("epoch 2" in line for line in violations(replace(STATES, between={})))


def test_statistics_of_an_option_are_left_out():
    options = [[["a/kernel"], ["b/kernel"]]]
    names = ["a/kernel", "a/moving_mean", "b/kernel", "b/moving_mean", "stem/moving_variance"]
    plain = Description("n", frozenset())
    assert statistics_of_every_step(plain, names) == {names[1], names[3], names[4]}
    assert statistics_of_every_step(replace(plain, options=options), names) == {names[4]}


def test_modes_are_those_of_each_step():
    run = {"steps": [], "modes": [{"net": True}]}
    with pytest.raises(AnswerError, match=r"modes: expected the modes of each of 0 steps"):
        answer("train", run)


@pytest.mark.parametrize(
    ("name", "verdict", "text"),
    [
        ("KeepsMoving", "holds", ""),
        pytest.param("TellsItsModes", "holds", "", marks=pytest.mark.slow),
        ("StopsAtAnEvaluation", "BROKEN", "all 1 of those that epoch 1 has moved: what was eval"),
    ],
)
def test_a_system_whose_statistics_stop_is_broken_by_what_it_does(
    name, verdict, text, embedded_frames, tmp_path
):
    found = judged(name, ["training-moves"], embedded_frames, tmp_path, "normed.py")
    assert found["training-moves"].verdict == verdict
    assert re.search(text, " ".join(found["training-moves"].violations))
