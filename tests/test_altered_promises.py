from dataclasses import replace

import pytest

from harness.archs import digits
from harness.promises import elsewhere, knobs, response
from tests.promise_evidence_altered import SEEDS
from tests.promise_evidence_responses import KNOBS, OPTIONS, PAIRS, RESPONSES, SCORED, knob


@pytest.mark.parametrize(
    ("cycle", "told"),
    [
        (("012", "120", "201"), False),
        (("0120", "1201", "2012"), True),
    ],
    ids=["216 orders", "1296 orders"],
)
def test_equal_cycles_are_reported_from_a_thousand_orders_on(cycle, told):
    found = elsewhere.seeds_matter(
        replace(SEEDS, cycles=[cycle], other_cycles=[cycle], space=(3,) * len(cycle[0]))
    )
    assert bool(found.violations) is told


@pytest.mark.parametrize("sampling", ["fair", "own"])
def test_equal_cycles_of_a_sampling_of_its_own_are_not_reported(sampling):
    cycle, space = ("0120", "1201", "2012"), replace(digits((3,) * 4), sampling=sampling)
    found = elsewhere.seeds_matter(
        replace(SEEDS, cycles=[cycle], other_cycles=[cycle], space=space)
    )
    assert bool(found.violations) is (sampling == "fair")


def test_changing_a_shared_kernel_moves_every_arch_that_runs_it():
    shared, scores = RESPONSES.changed[0, 0]
    assert shared == ("b0/shared",)
    moved = [a for a in PAIRS if scores.per_sample[a] != SCORED.per_sample[a]]
    assert moved == ["01", "12"]
    assert response.archs_are_executed(RESPONSES).violations == ()


def test_every_option_that_stays_is_told_and_the_list_is_cut_short():
    still = {place: (kernels, SCORED) for place, (kernels, _) in RESPONSES.changed.items()}
    found = response.archs_are_executed(replace(RESPONSES, changed=still)).violations
    assert len(found) == 6
    assert {violation.expected for violation in found} == {"another"}
    assert sum(map(len, OPTIONS)) == 6


@pytest.mark.parametrize("changed", [("training",), ("plan",), ("training", "evaluation")])
def test_a_knob_of_training_may_change_what_follows_from_it(changed):
    assert knobs.knobs_are_alive([knob("train.lr", "dynamics", *changed)]).violations == ()


@pytest.mark.parametrize("changed", [("evaluation",), ("plan",)])
def test_a_knob_of_the_protocol_may_change_what_is_evaluated_or_how_long(changed):
    assert knobs.knobs_are_alive([knob("eval.crop", "protocol", *changed)]).violations == ()


def test_a_sweep_is_counted_by_kind():
    found = knobs.knobs_are_alive(KNOBS)
    assert found.figures == "swept: 3 dynamics, 1 observation, 2 protocol"
