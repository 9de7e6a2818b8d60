"""A declared loss of the final flow is recomputed, and another one is named."""

from dataclasses import replace

import numpy as np
import pytest

from harness.errors import NotApplicableError
from harness.promises.final_losses import final_loss, other_final_losses
from harness.promises.loss import loss_is_recomputed
from tests.promise_evidence_steps import STEP

KINDS = ("l1", "l2", "epe")


def declares(kind, change=lambda loss: loss):
    batch = STEP.batch
    losses = [final_loss(kind, STEP.outputs[a], batch.flow, batch.valid) for a in STEP.archs]
    return replace(STEP, loss=kind, losses=tuple(change(loss) for loss in losses))


def test_losses_of_a_few_pixels_are_as_by_hand():
    outputs = [np.zeros((1, 1, 3, 2)), np.zeros((1, 1, 3, 2))]
    label = np.array([[[[3.0, 4.0], [0, 0], [9, 9]]]])
    valid = np.array([[[True, True, False]]])
    found = [final_loss(kind, outputs, label, valid) for kind in KINDS]
    assert found == [7 / 4, 25 / 4, 5 / 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_declared_loss_is_recomputed(kind):
    assert loss_is_recomputed(declares(kind)).violations == ()
    first, *_ = loss_is_recomputed(declares(kind, lambda loss: loss / 2)).violations
    assert f", {kind} as declared, found " in str(first)
    assert str(first).endswith(": half of it")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_loss_is_instead_of_the_declared_one_is_told_apart_and_named(kind):
    draw = np.random.default_rng(3)
    outputs, label = [draw.normal(size=(2, 5, 7, 2))], draw.normal(size=(2, 5, 7, 2))
    valid = draw.random((2, 5, 7)) < [[[0.9]], [[0.4]]]
    others = other_final_losses(kind, outputs, label, valid)
    values = [*others.values(), final_loss(kind, outputs, label, valid)]
    assert len({f"{value:.9g}" for value in values}) == len(values)
    other = "l2" if kind == "l1" else "l1"
    wrong = replace(declares(other), loss=kind)
    assert str(loss_is_recomputed(wrong).violations[0]).endswith(f": {other}")


def test_of_a_loss_of_its_own_nothing_is_recomputed():
    with pytest.raises(NotApplicableError, match="declares a loss of its own"):
        loss_is_recomputed(replace(STEP, loss="own"))
