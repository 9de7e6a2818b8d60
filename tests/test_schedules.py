"""A declared schedule gives each step's rate as PyTorch's schedulers do, or it is refused."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.schedules import COSINE, SCHEDULES, Schedule, named
from harness.systems.answers import AnswerError, answer

BASE = 2e-3
UNITS = st.integers(2, 30)
PER = st.sampled_from(["step", "epoch"])


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")


def of_torch(torch, make, count):
    """Return the rates that a scheduler of PyTorch gives, one after each call of it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], BASE)
    scheduler, found = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def same(torch, schedule, make, count, planned=3):
    """Require the rates of a scheduler that is called behind each step, or behind each epoch."""
    assert list(schedule.faults()) == []
    due = of_torch(torch, make, count)
    each = 1 if schedule.per == "step" else planned
    total, of_epoch = count * each, planned if each > 1 else count
    found = [schedule.rate(BASE, step, total, of_epoch) for step in range(total)]
    assert found == pytest.approx([rate for rate in due for _ in range(each)], rel=1e-9, abs=1e-15)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.floats(0.05, 0.9), PER)
@settings(max_examples=25)
def test_milestones_are_those_of_multisteplr(torch, milestones, factor, per):
    milestones.sort()
    schedule = Schedule("step", per=per, milestones=tuple(milestones), factor=factor)
    same(torch, schedule, lambda s, o: s.MultiStepLR(o, milestones, factor), 23)


@given(st.integers(1, 9), st.floats(0.05, 0.9), PER)
@settings(max_examples=25)
def test_every_so_often_is_steplr(torch, every, factor, per):
    schedule = Schedule("step", per=per, every=every, factor=factor)
    same(torch, schedule, lambda s, o: s.StepLR(o, every, factor), 23)


@given(UNITS, st.floats(0.01, 0.9), st.integers(0, 5), PER)
@settings(max_examples=25)
def test_a_cosine_is_cosineannealinglr_behind_linearlr(torch, count, end, warmup, per):
    assume(warmup < count - 1)

    def make(s, optimizer):
        cosine = s.CosineAnnealingLR(optimizer, count - warmup, eta_min=end * BASE)
        if not warmup:
            return cosine
        rising = s.LinearLR(optimizer, start_factor=0.25, total_iters=warmup)
        return s.SequentialLR(optimizer, [rising, cosine], milestones=[warmup])

    start = 0.25 if warmup else 0.0
    same(torch, Schedule("cosine", per=per, end=end, warmup=warmup, warmup_from=start), make, count)


@given(UNITS, st.floats(0, 0.9), st.integers(0, 4), PER)
@settings(max_examples=25)
def test_a_line_is_linearlr(torch, count, end, beyond, per):
    schedule = Schedule("linear", per=per, end=end, beyond=beyond)
    same(torch, schedule, lambda s, o: s.LinearLR(o, 1.0, end, count + beyond), count)


@given(
    UNITS, st.floats(0.01, 0.99), st.sampled_from(["cos", "linear"]), st.floats(1, 50),
    st.floats(1, 1e5), st.integers(0, 100),
)  # fmt: skip
@settings(max_examples=40)
def test_onecycle_is_onecyclelr(torch, count, share, anneal, first, last, beyond):
    assume(abs(share * (count + beyond) - 1) > 1e-6)  # where PyTorch divides by 0
    schedule = Schedule(
        "onecycle", pct_start=share, anneal=anneal, div_factor=first, final_div_factor=last,
        beyond=beyond,
    )  # fmt: skip

    def make(s, optimizer):
        return s.OneCycleLR(
            optimizer, BASE, count + beyond, pct_start=share, anneal_strategy=anneal,
            cycle_momentum=False, div_factor=first, final_div_factor=last,
        )  # fmt: skip

    same(torch, schedule, make, count)


@given(st.integers(1, 40), st.integers(1, 7))
@settings(max_examples=40)
def test_what_is_not_declared_is_half_a_cosine_over_the_steps(epochs, planned):
    total = epochs * planned
    for step in range(total):
        due = BASE * (1 + math.cos(math.pi * step / total)) / 2
        assert COSINE.rate(BASE, step, total, planned) == due
    assert {named(None), named(""), named("cosine")} == {COSINE}


def test_of_a_name_alone_only_two_are_known():
    assert named("constant").rate(BASE, 5, 6, 3) == BASE
    for name in ("step", "linear", "onecycle", "poly", "own"):
        assert not named(name).known
        assert named(name).text == name
        with pytest.raises(ValueError, match=f"no rate follows from schedule '{name}'"):
            named(name).rate(BASE, 0, 6, 3)


def test_a_rate_in_float32_fits_and_another_does_not():
    line = Schedule("linear")
    due = line.rate(BASE, 999, 1000, 10)
    assert line.fits(due + 1e-7 * BASE, BASE, due)
    assert not line.fits(line.rate(BASE, 998, 1000, 10), BASE, due)
    assert not COSINE.fits(due * (1 + 1e-8), BASE, due)


WRONG = {
    "name": ({"name": "poly"}, f"one of {', '.join(SCHEDULES)}, found str 'poly'"),
    "per": ({"name": "cosine", "per": "batch"}, "one of step, epoch"),
    "milestones": ({"name": "step"}, "milestones, or every, and not both"),
    "milestones, both": (
        {"name": "step", "milestones": [1], "every": 2}, "milestones, or every, and not both",
    ),
    "milestones, in disorder": (
        {"name": "step", "milestones": [3, 1]}, "numbers from 1 on, in order",
    ),
    "milestones, from 0": ({"name": "step", "milestones": [0]}, "numbers from 1 on, in order"),
    "milestones, of another": (
        {"name": "linear", "milestones": [3]}, "none of linear's, which has name, per, title, w",
    ),
    "factor": ({"name": "step", "every": 1, "factor": 1.5}, "more than 0, and less than 1"),
    "end": ({"name": "cosine", "end": 1.5}, "0 to 1"),
    "warmup": ({"name": "cosine", "warmup": -1}, "0 or more"),
    "warmup, of onecycle": ({"name": "onecycle", "warmup": 2}, "none of onecycle's"),
    "anneal": ({"name": "onecycle", "anneal": "line"}, "one of cos, linear"),
    "div_factor": ({"name": "onecycle", "div_factor": 0}, "more than 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_word_that_contradicts_itself_is_refused(what):
    schedule, expected = WRONG[what]
    field = what.partition(",")[0]
    with pytest.raises(AnswerError) as error:
        answer("describe", {"name": "n", "can": [], "schedule": schedule})
    assert f"describe().schedule.{field}: expected {expected}" in str(error.value)


def test_settings_may_not_name_another():
    given = {"name": "n", "can": [], "schedule": {"name": "step", "every": 1}}
    assert answer("describe", given).schedule.every == 1
    assert answer("describe", {**given, "settings": {"train.lr_schedule": "step"}})
    with pytest.raises(AnswerError, match=r"'train.lr_schedule'\]: expected 'step', as schedule s"):
        answer("describe", {**given, "settings": {"train.lr_schedule": "cosine"}})
