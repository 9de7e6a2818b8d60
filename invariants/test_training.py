"""Training does what was planned, and nothing else reaches the weights."""

import pytest

from harness.pytest_plugin import Gate


@pytest.mark.parametrize("position", ["micro-step", "update"])
def test_clip_checks_are_planned(gate: Gate, position: str) -> None:
    """Every epoch makes exactly the planned number of clip checks."""
    gate.check(f"clip-checks-planned-{position}")


@pytest.mark.parametrize("position", ["micro-step", "update"])
def test_clip_checks_are_planned_in_the_other_epoch_mode(gate: Gate, position: str) -> None:
    """The same holds for full passes and for steps drawn with replacement."""
    gate.check(f"clip-checks-planned-{position}-other-mode")


@pytest.mark.parametrize("position", ["micro-step", "update"])
def test_clip_arithmetic_holds(gate: Gate, position: str) -> None:
    """Counts, rates and quantiles follow from the dumped norms."""
    gate.check(f"clip-arithmetic-{position}")


def test_training_moves_everything(gate: Gate) -> None:
    """No weight, statistic or optimizer slot stays where it was."""
    gate.check("training-moves")


def test_epoch_rows_add_up(gate: Gate) -> None:
    """The epoch log follows from the steps and from the evaluation repeated."""
    gate.check("epoch-rows-add-up")


def test_archs_are_fair(gate: Gate) -> None:
    """Every option of every block is trained equally often."""
    gate.check("fair-archs")


def test_evaluation_and_diagnostics_leave_training_alone(gate: Gate) -> None:
    """Weights are bit-identical with and without evaluation and diagnostics."""
    gate.check("train-unobserved")


def test_everything_is_finite(gate: Gate) -> None:
    """No NaN or Inf in weights, gradients, statistics or scores."""
    gate.check("all-finite")


def test_planted_nan_stops_the_run(gate: Gate) -> None:
    """A NaN in a weight stops training, by name."""
    gate.check("nan-stops")
