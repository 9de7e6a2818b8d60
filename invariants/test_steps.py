"""Single training steps, recomputed from the weights, moments and outputs they leave."""

import pytest

from harness.pytest_plugin import Gate


def test_training_loss_is_recomputed(gate: Gate) -> None:
    """The loss is that of the outputs and the labels, weight decay included."""
    gate.check("loss-recomputed")


def test_an_update_is_an_adam_step(gate: Gate) -> None:
    """Weights move by Adam's formula, with the planned rate and the reported norm."""
    gate.check("update-is-adam")


@pytest.mark.parametrize("promise", ["gradient-of-loss", "gradient-everywhere"])
def test_the_gradient_is_that_of_the_loss(gate: Gate, promise: str) -> None:
    """It is the slope of the reported loss, and reaches every option in one fair step."""
    gate.check(promise)


def test_micro_batches_weigh_by_samples(gate: Gate) -> None:
    """Uneven micro-batches give what one whole batch gives."""
    gate.check("micro-batches-weighed")


def test_the_clipped_gradient_is_applied(gate: Gate) -> None:
    """Clipping bounds the norm of what is applied and keeps its direction."""
    gate.check("clip-applied")


def test_moving_statistics_follow_the_batches(gate: Gate) -> None:
    """Each arch that runs a unit moves its statistics once, with momentum 0.9."""
    gate.check("moving-statistics")


def test_training_draws_what_is_served(gate: Gate) -> None:
    """The batches of the steps are those that the provider serves."""
    gate.check("drawn-as-served")


def test_a_constant_ranking_has_no_tau(gate: Gate) -> None:
    """Where all archs score the same, Kendall's tau is undefined."""
    gate.check("constant-ranking")


def test_tau_follows_a_ranking_that_changes(gate: Gate) -> None:
    """Where the ranking turns over, tau is that of the two rankings."""
    gate.check("tau-of-changed-ranking")
