"""A wrong step is named by what it is instead: corruptions of evidence, by their names."""

from dataclasses import replace

import pytest

from harness.promises import micro_batches
from harness.promises.update import update_is_adam
from harness.schedules import COSINE, Schedule
from tests import promise_evidence_accumulation, promise_evidence_onestep

INSTEAD = {
    "the last scale alone": "the last scale alone",
    "scales of equal weight": "scales of one weight, their mean",
    "fine and coarse exchanged": "fine and coarse scales exchanged",
    "residuals not summed": "residuals not added up",
    "no uncertainty": "without the terms of the uncertainty",
    "unknown flow taken for zero": "unknown pixels counted, with a flow of 0",
    "no weight decay": "without the weight decay",
    "decay without its half": "the weight decay counts twice, as squares that are not halved",
    "losses of other archs": "that of arch 111111111",
    "another learning rate": "twice the step",
    "no bias correction": "no bias correction",
    "decay past the moments": "the weight decay once more, beside the gradient",
    "second moment with beta 0.9": "with a beta_2 of 0.9, not 0.999",
    "the norm of another step": "that of step 1",
    "a gradient halved after it was measured": "twice that",
    "a sum is logged": "three times that, as the sum over a step's archs",
    "an update missing": "the first arch did not update it",
    "none made": "it was not updated",
    "all made twice": "all archs updated it twice",
    "the momentum's complement": "momentum 0.1, the complement",
    "momentum 0.99": "momentum 0.99",
    "variance over N": "the variance over N, not N - 1",
    "archs in another order": "the archs updated it in reversed order",
    "a mean of means": "each micro-batch weighs the same, whatever its size",
    "divided by the micro-batch size": "divided by 4 samples, not by 5",
    "the last one lost, of both": "the last micro-batch is lost",
    "the last one alone": "the last micro-batch alone",
    "the first one twice": "the first micro-batch counts twice",
    "the odd one as whole": "the last micro-batch counts twice",
    "reported and not applied": "it is not clipped",
    "reported and not applied per micro-step": "it is not clipped",
    "each variable alone": "each variable is clipped by itself",
    "half the threshold": "it is clipped at half of the threshold",
    "nothing applied": "nothing is left of it",
}
CORRUPTIONS = {
    name: (check, evidence)
    for table in (promise_evidence_onestep.CORRUPTED, promise_evidence_accumulation.CORRUPTED)
    for check, rows in table.items()
    for name, (evidence, _) in rows.items()
}


@pytest.mark.parametrize("name", INSTEAD)
def test_a_wrong_step_is_named(name):
    check, evidence = CORRUPTIONS[name]
    assert str(check(evidence).violations[0]).endswith(f": {INSTEAD[name]}")


UNNAMED = (
    "losses of the step before", "one weight left where it was", "a scale is detached",
    "each value alone", "summed over archs", "each variable alone per micro-step", "NaN",
)  # fmt: skip


@pytest.mark.parametrize("name", UNNAMED)
def test_a_step_that_nothing_gives_is_not_named(name):
    check, evidence = CORRUPTIONS[name]
    assert ": " not in check(evidence).violations[0].found


def test_a_gradient_that_no_weighing_gives_is_not_named():
    evidence = promise_evidence_accumulation.of_both(0.55, 0.3)
    (violation,) = micro_batches.micro_batches_weigh_by_samples(evidence).violations
    assert violation.where == "gradient of A, A | A, A | B"
    assert ": " not in violation.found


HALVED = Schedule("step", per="epoch", milestones=(1,), factor=0.5)
BY_RATE = {
    "by 4/3, where the rate is that of a cosine": (
        COSINE, 4 / 3, "the base learning rate, it does not fall",
    ),
    "by 4/3, where it is one for all steps": (Schedule("constant"), 4 / 3, ""),
    "by 3/4, where it is one for all steps": (
        Schedule("constant"), 3 / 4, "a learning rate that falls by half a cosine",
    ),
    "by 2, behind a milestone": (HALVED, 2.0, "the base learning rate, it does not fall"),
    "by 3/2, behind a milestone": (
        HALVED, 3 / 2, "a learning rate that falls by half a cosine",
    ),
    "by 2, of a schedule of its own": (Schedule("own"), 2.0, "twice the step"),
}  # fmt: skip


@pytest.mark.parametrize("what", BY_RATE)
def test_another_rate_is_named_by_the_schedule_that_is_declared(what):
    schedule, factor, named = BY_RATE[what]
    evidence = replace(promise_evidence_onestep.stepped(factor), schedule=schedule)
    first = next(v for v in update_is_adam(evidence).violations if v.where.startswith("step"))
    assert first.found.endswith(f" away{named and ': '}{named}")
