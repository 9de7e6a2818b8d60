"""Where a batch is shared out to several devices, micro-steps are not those of the plan."""

from dataclasses import replace

import pytest

from harness.errors import NotApplicableError
from harness.promises.ledger.epoch_figures import loss_average_follows
from harness.promises.ledger.steps import steps_are_planned
from tests.ledger_runs import RUN

FOUR = replace(
    RUN, devices=4, steps=tuple(replace(s, checks=s.checks + 1) for s in RUN.steps)
)  # fmt: skip


def test_micro_steps_of_one_device_are_held_against_the_plan():
    assert RUN.config["train"]["clip_position"] == "micro_step"
    assert steps_are_planned(replace(FOUR, devices=1)).violations
    assert loss_average_follows(RUN).violations == ()


def test_clip_checks_per_micro_step_of_several_devices_are_not():
    found = steps_are_planned(FOUR)
    assert found.violations == ()
    assert "clip checks not held against the plan: the system trains on 4 devices" in found.figures


def test_updates_are_as_many_on_any_number_of_devices():
    train = {**RUN.config["train"], "clip_position": "update"}
    run = replace(FOUR, config={**RUN.config, "train": train})
    assert any("clip checks" in str(one) for one in steps_are_planned(run).violations)


def test_a_mean_that_micro_batches_weigh_does_not_apply():
    with pytest.raises(NotApplicableError, match=r"4 devices .* cuts its share of a batch"):
        loss_average_follows(FOUR)
