"""A system of somebody else's that tells its draws is judged on them, by its own design."""

from pathlib import Path

import pytest

from harness.config import parse_config
from harness.environment import apply_environment
from harness.errors import NotApplicableError
from harness.promises.bench import Bench, require_settable
from harness.promises.judge import judge
from harness.promises.ledger.draws import draws_are_new
from harness.promises.registry import PROMISES
from harness.promises.setting import embedded_config, fit_to_system
from harness.systems.answers import AnswerError, answer
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec
from tests.ledger_runs import config, each

HERE = Path(__file__).parent / "numpy_trainer"
ASKED = (
    "orders-independent", "windows-independent", "cycles-independent", "kernels-independent",
    "draws-as-trained", "train-draws-declared", "drawn-as-served",
)  # fmt: skip
HELD = dict.fromkeys(ASKED, "holds") | {"cycles-independent": "n/a"}


def judged(name, frames, folder, **train):
    """Return the judgements of promises of draws on a system in its worker."""
    spec, workers = SystemSpec(f"{HERE / 'told.py'}:{name}"), Workers()
    tree = embedded_config(frames).model_dump(mode="json", by_alias=True)
    tree["train"] |= train
    asked = parse_config(tree)
    apply_environment(asked)
    factory = system_factory(spec, workers)
    fitted = fit_to_system(asked, factory().describe())
    bench = Bench(factory, spec, fitted.model_dump(mode="json", by_alias=True), folder)
    found = {promise: judge(PROMISES[promise], bench) for promise in ASKED}
    bench.close()
    workers.close()
    return found


@pytest.mark.parametrize(
    ("name", "train", "others"),
    [
        ("Told", {}, {}),
        ("Told", {"epoch_mode": "fixed_steps", "steps_per_epoch": 3}, {}),
        ("Told", {"train_crop_mode": "center"}, {"windows-independent": "n/a"}),
        ("Sequential", {}, {"orders-independent": "n/a"}),
        (
            "SaysItShuffles", {},
            {"orders-independent": "BROKEN", "train-draws-declared": "BROKEN"},
        ),
        ("TellsTheNextEpoch", {}, {"draws-as-trained": "BROKEN"}),
        (
            "TellsFloats", {},
            dict.fromkeys(
                ["orders-independent", "windows-independent", "kernels-independent",
                 "draws-as-trained", "cycles-independent"], "error",
            ),
        ),
    ],
)  # fmt: skip
def test_it_is_judged_by_its_own_design(name, train, others, embedded_frames, tmp_path):
    found = judged(name, embedded_frames, tmp_path, **train)
    shown = {promise: (j.verdict, j.text) for promise, j in found.items()}
    assert {promise: j.verdict for promise, j in found.items()} == HELD | others, shown
    if others.get("orders-independent") == "n/a":
        assert "'sequential' alone, which is no shuffle" in found["orders-independent"].text
    floats = (
        "AnswerError: draws('order'): expected 'order', integers on 1 axes, found an array of "
        "float64 and shape (500,)"
    )
    reason = floats if name == "TellsFloats" else "both widths are trained in every step"
    assert found["cycles-independent"].text == reason


IN_ORDER = {"train.train_sampling_mode": "sequential"}


def test_a_mode_of_its_own_is_what_no_configuration_asks_for():
    tree = {"train": {"epoch_mode": "full_pass", "train_sampling_mode": None}}
    require_settable(tree, IN_ORDER, {"train": {"train_sampling_mode": None}})
    with pytest.raises(NotApplicableError, match="train_sampling_mode 'sequential' alone"):
        require_settable(tree, IN_ORDER, {"train": {"train_sampling_mode": "random"}})


def test_epochs_of_one_order_and_no_random_crop_are_not_accused():
    centred = {"train_sampling_mode": "sequential", "train_crop_mode": "center"}
    alike = each("steps", batch="the same")
    assert draws_are_new(alike).violations
    with pytest.raises(NotApplicableError, match="'sequential' and no random crops"):
        draws_are_new(config(alike, train=centred))
    assert draws_are_new(config(alike, train=centred | {"train_crop_mode": "random"})).violations


@pytest.mark.parametrize("name", ["glorot_uniform", ""])
def test_an_initialiser_is_one_that_is_known_or_none(name):
    told = {"name": "n", "can": ["describe"], "initializer": name}
    assert answer("describe", told).initializer == name
    with pytest.raises(
        AnswerError, match=r"initializer: expected one of glorot_uniform, .* 'best'"
    ):
        answer("describe", told | {"initializer": "best"})
