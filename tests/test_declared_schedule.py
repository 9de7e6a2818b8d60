"""A constant rate that is declared is required of every step, float32 and all."""

from dataclasses import replace

import numpy as np
import pytest

from harness.promises.ledger.steps import learning_rate_follows
from tests.ledger_runs import RUN

BASE = RUN.config["train"]["lr"]


def constant(*rates):
    """Return a run that declares one rate for all, whose steps have these, the last one on."""
    last = len(rates) - 1
    steps = tuple(replace(s, lr=rates[min(i, last)]) for i, s in enumerate(RUN.steps))
    train = {**RUN.config["train"], "lr_schedule": "constant"}
    return replace(RUN, config={**RUN.config, "train": train}, steps=steps, epochs=())


@pytest.mark.parametrize("rate", [BASE, float(np.float32(BASE))])
def test_one_rate_in_all_steps_is_what_is_declared(rate):
    assert learning_rate_follows(constant(rate)).violations == ()


def test_a_rate_that_falls_is_not_constant():
    first, *_ = learning_rate_follows(constant(BASE, BASE / 2)).violations
    assert str(first).startswith("learning rate of epoch 1, step 2: expected ")
    assert str(first).endswith(f"found {BASE / 2!r}")
