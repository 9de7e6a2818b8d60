"""A last batch that a trainer leaves out: what its declaration changes, and a false one."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.promises.clip_checks import clip_checks_are_planned
from harness.promises.draws import training_draws_are_declared
from harness.promises.partial_batches import _sections
from harness.promises.recorded_run import planned_sizes
from harness.promises.setting import EMBEDDED_TRAIN, embedded_config
from harness.systems.protocol import Description
from tests.promise_evidence_data import DRAWS
from tests.promise_evidence_training import UPDATE

DROPS = Description("n", frozenset(), drop_last=True)
LEFT_OUT = replace(
    DRAWS, planned_sizes=(2, 2), first=DRAWS.first[:2], first_again=DRAWS.first_again[:2],
    second=DRAWS.second[:2], other_seed=DRAWS.other_seed[:2], drop_last=True,
)  # fmt: skip


def lines(outcome):
    return [str(violation) for violation in outcome.violations]


@pytest.mark.parametrize(("size", "sizes"), [(5, (5, 5)), (11, (11,)), (12, ()), (1, (1,) * 11)])
def test_an_epoch_has_so_many_whole_batches(size, sizes, embedded_frames):
    tree = embedded_config(embedded_frames).model_dump(mode="json", by_alias=True)
    tree["train"]["batch_size"] = size
    assert EMBEDDED_TRAIN == 11
    assert planned_sizes(tree, DROPS) == sizes
    with_rest = planned_sizes(tree, replace(DROPS, drop_last=False))
    assert sum(with_rest) == EMBEDDED_TRAIN
    tree["train"] |= {"epoch_mode": "fixed_steps", "steps_per_epoch": 3}
    assert planned_sizes(tree, DROPS) == (size,) * 3


def test_what_is_left_out_is_no_breach_where_it_is_declared():
    assert lines(training_draws_are_declared(LEFT_OUT)) == []
    (full,) = lines(training_draws_are_declared(replace(LEFT_OUT, drop_last=False)))
    assert full.startswith("full pass: expected each of 5 samples once, found 4 draws of 4 samples")


def test_a_sample_that_comes_twice_is_a_breach_whatever_is_left_out():
    twice = replace(LEFT_OUT, first=(DRAWS.first[0], DRAWS.first[0]))
    found = lines(training_draws_are_declared(twice))
    assert any("full pass: expected 4 of 5 samples once, found 4 draws of 2" in f for f in found)


def test_a_false_declaration_is_broken():
    all_served = replace(DRAWS, planned_sizes=(2, 2), drop_last=True)
    assert lines(training_draws_are_declared(all_served))[0] == (
        "training batch sizes: expected [2, 2], found [2, 2, 1]"
    )
    trained = replace(UPDATE, planned_sizes=UPDATE.planned_sizes[:-1], epochs=())
    found = lines(clip_checks_are_planned(trained))
    steps = len(UPDATE.planned_sizes)
    assert f"epoch 1, steps: expected {steps - 1}, found {steps}" in found


def test_what_is_augmented_is_held_against_no_file():
    others = [replace(batch, frames=255 - batch.frames) for batch in DRAWS.first]
    changed = replace(DRAWS, first=others)
    assert any("img_0" in line for line in lines(training_draws_are_declared(changed)))
    assert lines(training_draws_are_declared(replace(changed, decoded={}))) == []


@pytest.mark.parametrize("declared", ["drop_last", "augmentation", "whole_batches"])
def test_what_is_left_out_is_not_asked_for(declared, embedded_frames):
    tree = embedded_config(embedded_frames).model_dump(mode="json", by_alias=True)

    def asked(about):
        bench = SimpleNamespace(
            config=tree, describe=lambda: about, settable=lambda section, values: values
        )
        return set(_sections(bench)[1])

    plain = Description("n", frozenset())
    assert asked(plain) == {"train", "eval"}
    assert "train" not in asked(replace(plain, **{declared: True}))
