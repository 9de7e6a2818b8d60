"""A schedule that is declared is required of every step, float32 and all."""

import re
from dataclasses import replace

import numpy as np
import pytest

from harness.promises.ledger.steps import learning_rate_follows, steps_are_planned
from harness.schedules import Schedule
from tests.ledger_runs import RUN
from tests.test_declared import judged, late

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


PLANNED, EPOCHS = len(RUN.planned_sizes), RUN.config["train"]["num_epochs"]
TOTAL = PLANNED * EPOCHS
HALVED = Schedule("step", per="epoch", milestones=(1,), factor=0.5)
WARMED = Schedule("linear", warmup=2)
CYCLE = Schedule("onecycle", anneal="linear", beyond=3)


def run(declared, rule):
    """Return a run that declares a schedule, whose steps have the rates of a rule."""
    steps = tuple(
        replace(s, lr=rule((s.epoch - 1) * PLANNED + s.step - 1, s.epoch)) for s in RUN.steps
    )
    return replace(RUN, schedule=declared, steps=steps, epochs=())


def of(schedule, shift=0):
    return lambda done, _: schedule.rate(BASE, done + shift, TOTAL, PLANNED)


@pytest.mark.parametrize("schedule", [HALVED, WARMED, CYCLE, Schedule("cosine", per="epoch")])
def test_a_declared_schedule_is_kept_in_float32_too(schedule):
    assert learning_rate_follows(run(schedule, of(schedule))).violations == ()
    single = run(schedule, lambda done, _: float(np.float32(of(schedule)(done, _))))
    assert learning_rate_follows(single).violations == ()


OTHERS = {
    "does half a cosine": (
        HALVED, of(Schedule("cosine")), ": half a cosine over the steps, not the declared one",
    ),
    # Of two epochs, that it falls late and that it never does are the same.
    "one epoch late": (HALVED, of(replace(HALVED, milestones=(2,))), ""),
    "one step ahead": (HALVED, of(HALVED, 1), ": the plan one step early"),
    "another factor": (
        HALVED, of(replace(HALVED, factor=0.1)), ": the plan with a factor of 0.1, not 0.5",
    ),
    "in steps": (
        HALVED, of(replace(HALVED, per="step")), ": the plan counted in steps, not in epochs",
    ),
    "a line": (
        HALVED, of(Schedule("linear")), ": a straight line over the steps, not the declared one",
    ),
    "no warmup": (WARMED, of(Schedule("linear")), ": the plan without its warmup"),
    "another anneal": (
        CYCLE, of(replace(CYCLE, anneal="cos")), ": the plan annealed by cos, not by linear",
    ),
    "no longer": (CYCLE, of(replace(CYCLE, beyond=0)), ": the plan no longer than the run"),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_a_schedule_that_is_not_the_declared_one_is_named(what):
    declared, rule, told = OTHERS[what]
    found = [str(v) for v in learning_rate_follows(run(declared, rule)).violations]
    assert found
    assert all(re.search(rf"found [\d.e-]+{re.escape(told)}$", line) for line in found)


def test_a_milestone_that_no_step_reaches_is_told():
    late = Schedule("step", per="epoch", milestones=(EPOCHS + 1,))
    found = learning_rate_follows(run(late, lambda *_: BASE))
    assert found.violations == ()
    assert found.figures.endswith("recomputed, of which none lies behind a milestone")
    assert "milestone" not in learning_rate_follows(run(HALVED, of(HALVED))).figures


def test_steps_alone_are_counted_by_epoch():
    alone = replace(RUN, epochs=(), norms=(), evals=(), checkpoints=(), steps_alone=True)
    assert steps_are_planned(alone).violations == ()
    first = [step for step in alone.steps if (step.epoch, step.step) != (1, PLANNED)]
    found = steps_are_planned(replace(alone, steps=tuple(first)))
    assert [str(v) for v in found.violations] == [
        f"epoch 1, steps: expected {PLANNED}, found {PLANNED - 1}"
    ]


RATE, MOVED, FIRST = "ledger-learning-rate", "every-update-is-adam", "update-is-adam"
RATES = (RATE, "ledger-steps-planned", FIRST, MOVED)
FILE = "scheduled.py"


@pytest.mark.parametrize("name", ["StepsDown", *map(late, ["Warmed", "OneCycle"])])
def test_a_declared_schedule_is_judged_and_kept(name, embedded_frames, tmp_path):
    found = judged(name, RATES, embedded_frames, tmp_path, FILE)
    assert {promise: f.verdict for promise, f in found.items()} == dict.fromkeys(RATES, "holds"), [
        (f.text, f.violations) for f in found.values()
    ]


@pytest.mark.parametrize(
    ("name", "broken", "text"),
    [
        late("SaysStepDoesCosine", {RATE, MOVED, FIRST}, "half a cosine over the steps, not the"),
        late("OneEpochLate", {RATE, MOVED, FIRST}, r"epoch 2, step 1: expected 0\.0005, step 4 o"),
        late("AnotherFactor", {RATE, MOVED, FIRST}, r"a factor of 0\.1, not 0\.5"),
        late("OneStepAhead", {RATE, MOVED}, "the plan one step early"),
        ("LogsWhatIsDue", {MOVED, FIRST}, r"step 1 of epoch 2 .* rate of 0\.0005, found 2 times"),
        late("SaysNoWarmup", {RATE, MOVED, FIRST}, r"epoch 1, step 1: expected 0\.001, step 0 of"),
        late("SaysItEndsWithTheRun", {RATE, MOVED, FIRST}, r"epoch 1, step 2: expected 0\.00"),
    ],
)
def test_a_schedule_that_a_system_does_not_keep_is_broken(
    name, broken, text, embedded_frames, tmp_path
):
    found = judged(name, RATES, embedded_frames, tmp_path, FILE)
    assert {promise for promise, f in found.items() if f.verdict == "BROKEN"} == broken
    assert found["ledger-steps-planned"].verdict == "holds"
    assert re.search(text, " ".join(line for f in found.values() for line in f.violations))


@pytest.mark.slow
def test_rates_of_a_schedule_of_its_own_are_not_judged_by_that_name(embedded_frames, tmp_path):
    found = judged("Polynomial", [RATE, MOVED], embedded_frames, tmp_path, FILE)
    assert (found[RATE].verdict, found[RATE].text) == (
        "n/a", "the rates of schedule 'polynomial' (describe()['schedule']) are not known",
    )  # fmt: skip
    assert found[MOVED].verdict == "holds"


def test_steps_alone_tell_a_last_batch_that_is_left_out(embedded_frames, tmp_path):
    asked = ["ledger-steps-planned", "ledger-learning-rate"]
    kept = judged("DropsLast", asked, embedded_frames, tmp_path / "kept", FILE)
    assert [kept[name].verdict for name in asked] == ["holds", "n/a"]
    false = judged("StepsAlone", asked, embedded_frames, tmp_path / "false", FILE)
    assert false[asked[0]].violations == (
        "epoch 1, steps: expected 3, found 4", "epoch 2, steps: expected 3, found 4",
    )  # fmt: skip


@pytest.mark.slow
def test_without_steps_nothing_tells_what_is_left_out(embedded_frames, tmp_path):
    asked = ["ledger-steps-planned", "clip-checks-planned-update", "train-draws-declared"]
    found = judged("TellsNoSteps", asked, embedded_frames, tmp_path, FILE)
    assert {name: (f.verdict, f.text) for name, f in found.items()} == {
        asked[0]: ("n/a", "nothing: no step was recorded"),
        asked[1]: ("n/a", "the system records no clip checks (Training.checks)"),
        asked[2]: ("n/a", "the system does not offer batches"),
    }
