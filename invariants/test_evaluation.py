"""The same checkpoint gives the same number, whatever is done around it."""

import pytest

from harness.pytest_plugin import Gate


@pytest.mark.parametrize("how", ["again", "fresh", "permuted", "subset", "alone", "prefix"])
def test_same_checkpoint_scores_the_same(gate: Gate, how: str) -> None:
    """The same checkpoint scores the same, sample by sample, to the last bit."""
    gate.check(f"same-scores-{how}")


@pytest.mark.parametrize("skeleton", ["full", "bilinear", "decoupled"])
def test_every_skeleton_trains_and_scores_the_same_twice(gate: Gate, skeleton: str) -> None:
    """Training and evaluating again from the seed gives the same bits, in all skeletons."""
    gate.check(f"same-scores-{skeleton}")


def test_evaluation_changes_nothing(gate: Gate) -> None:
    """No variable, statistic, counter or upcoming training draw moves."""
    gate.check("eval-pure")


def test_metric_gives_known_answers(gate: Gate) -> None:
    """A perfect prediction scores 0 and ground truth plus (3, 4) scores 5 px."""
    gate.check("metric-oracle")


def test_reported_epe_is_recomputed(gate: Gate) -> None:
    """The reported EPE is that of the predicted flow, computed by other code."""
    gate.check("metric-recomputed")


def test_metric_is_alive(gate: Gate) -> None:
    """The EPE moves when any output head moves, and differs between archs."""
    gate.check("metric-alive")
