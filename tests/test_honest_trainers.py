"""Trainers that do something legitimate in another way are not accused; what they say is held."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.archs import Space
from harness.promises.bench import Bench
from harness.promises.gradients import gradient_between
from harness.promises.judge import judge
from harness.promises.kept_share import KeptShare, declared_share_is_kept
from harness.promises.option_arrays import arrays_not_drawn, may_rest
from harness.promises.pixels import Expected, flow_instead
from harness.promises.refusals import names_word
from harness.promises.registry import PROMISES
from harness.promises.setting import embedded_config, fit_to_system
from harness.promises.training import Moves, training_moves_everything
from harness.promises.update import gradient_reaches_every_option
from harness.promises.update_rules import Moved, planned_moves
from harness.systems.declared import ADAM, UpdateRule
from harness.systems.opening import system_factory
from harness.systems.protocol import Description
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec
from tests.promise_evidence_steps import STEP

FILE = Path(__file__).parent / "torch_trainer" / "honest.py"


def lines(outcome):
    return [str(violation) for violation in outcome.violations]


def with_first_moment(name, value):
    return replace(STEP, first=({**STEP.first[0], name: value}, STEP.first[1]))


def test_a_vector_needs_no_more_of_a_gradient_than_rounding_makes():
    vector = next(n for n, a in STEP.start.items() if np.ndim(a) == 1)
    tiny = with_first_moment(vector, np.full(np.shape(STEP.start[vector]), 1e-12))
    assert lines(gradient_reaches_every_option(tiny)) == []
    (none,) = lines(
        gradient_reaches_every_option(with_first_moment(vector, np.zeros_like(STEP.start[vector])))
    )
    assert none.startswith(f"gradient of {vector} in a fair step: expected more than weight decay")


def test_an_average_of_statistics_keeps_a_share_of_its_own():
    own, average = np.full(2, 0.9**3), np.full(2, 0.97)
    moved = {"norm.moving_mean": own, "ema/norm.moving_mean": average}
    assert lines(declared_share_is_kept(KeptShare(0.9, 1.0, moved))) == []
    (other,) = lines(declared_share_is_kept(KeptShare(0.9, 1.0, {"norm.moving_mean": average})))
    assert other.startswith("norm.moving_mean after training: expected 0.9 kept by each update")


def test_a_message_may_have_the_name_that_a_wrapper_gives():
    assert names_word("weights: ['module.head.weight']", "ema/head.weight")
    assert not names_word("weights: ['other.head.weight']", "ema/head.weight")


def test_what_is_declared_frozen_stays_and_nothing_else():
    before = {"conv.weight": "a", "head.weight": "b", "conv.bias": "c"}
    after = {"conv.weight": "a", "head.weight": "d", "conv.bias": "c"}
    frozen = frozenset({"conv.weight", "conv.bias"})
    assert lines(training_moves_everything(Moves(before, after, frozen=frozen))) == []
    assert lines(
        training_moves_everything(Moves(before, after, frozen=frozen - {"conv.bias"}))
    ) == ["conv.bias after training: expected another value, found unchanged"]
    found = training_moves_everything(Moves(before, after, frozen=frozenset({"head.weight"})))
    moved = "head.weight after training: expected unchanged, frozen as declared, found another"
    assert any(line.startswith(moved) for line in lines(found))


def test_an_option_that_no_step_drew_may_stay_where_it_is():
    about = Description(
        "n", frozenset(), options=[[("a.weight",), ("b.weight",)]],
        option_arrays=[[(), ()]], space=Space((("0", "1"),), sampling="own"),
    )  # fmt: skip
    names = ["a.weight", "b.weight", "optimizer/b.weight/exp_avg", "head.weight"]

    def undrawn(*archs, about=about):
        steps = [SimpleNamespace(archs=(arch,) if arch else ()) for arch in archs]
        return arrays_not_drawn(about, names, SimpleNamespace(steps=steps))

    assert undrawn("0", "0") == {"b.weight", "optimizer/b.weight/exp_avg"}
    assert undrawn("0", "1") == frozenset()
    assert undrawn("") == {"a.weight", "b.weight", "optimizer/b.weight/exp_avg"}
    fair = replace(about, space=Space((("0", "1"),)))
    assert undrawn("0", about=fair) == frozenset()
    # So may a step pass them over, where the system tells which they are: else any.
    assert may_rest(about, names) == {"a.weight", "b.weight"}
    assert may_rest(fair, names) == may_rest(replace(about, space=None), names) == frozenset()
    assert may_rest(replace(about, options=None), names) is None


ONE, TWO = (np.full((2, 2), value, np.float32) for value in (0.1, 0.2))
BEFORE = {"ran": 9 * ONE, "idle": 9 * TWO}
OLD = {"ran": ONE, "idle": TWO}, {"ran": ONE, "idle": TWO}


def step(rule=ADAM, rests=None):
    """Return the third step of a run: the second of one weight, which passes the other over."""
    new = {"ran": 2 * ONE, "idle": TWO}, {"ran": 3 * ONE, "idle": TWO}
    return Moved(rule, 0.1, 3, BEFORE, BEFORE, new, {}, OLD, {"ran": 2, "idle": 1}, rests)


def test_a_weight_without_a_gradient_is_passed_over():
    found = step()
    gradient = gradient_between(ADAM, OLD[0], found.moments[0])
    assert not gradient["idle"].any()
    assert gradient["ran"] == pytest.approx(1.1, rel=1e-6)
    for rule in (ADAM, UpdateRule("adamw", weight_decay=0.5)):
        planned = planned_moves(step(rule), own_number=True)
        assert not planned["idle"].any()
    assert found.passed_over == {"idle"} == step(rests=frozenset({"idle", "other"})).passed_over
    assert planned_moves(step(rests=frozenset({"ran"})))["idle"].any()
    both = planned_moves(found), planned_moves(found, own_number=True)
    assert not np.allclose(both[0]["ran"], both[1]["ran"])


def test_a_label_that_is_not_clipped_is_not_said_to_be_unknown():
    raw = np.full((4, 5, 2), 80, np.float32)
    raw[0, 0] = 3
    expected = Expected("a", (0, 0, 4, 5), {"a": np.clip(raw, -50, 50)})
    assert flow_instead(expected, raw, raw) == ": not clipped"
    raw[1, 1] = 1e10
    clipped = np.where(np.abs(raw) > 1e9, np.float32(0), np.clip(raw, -50, 50))
    served = flow_instead(Expected("a", (0, 0, 4, 5), {"a": clipped}), raw, raw)
    assert served == ": unknown pixels are served as they are in the file"


@pytest.mark.slow
def test_shares_of_a_loss_are_told_as_means_of_micro_batches():
    training = pytest.importorskip("harness.systems.torch.training")
    watch = pytest.importorskip("harness.systems.torch.watch")

    def told(*losses, samples=5, micro=2, archs=1):
        seen = watch.Seen(losses=list(losses), samples=["d"] * samples)
        return training._mean_losses(seen, archs, micro)

    assert told(0.4 * 3, 0.4 * 4, 0.2 * 5) == pytest.approx([3, 4, 5])
    assert told(1.5, 0.25, samples=2) == [1.75]  # two losses of one micro-batch
    assert told(1.5, 0.25, samples=2, archs=2) == [3.0, 0.5]
    assert told(1.5, samples=0) == [1.5]
    assert told(1.5, 0.25, archs=0) == [1.75]  # which it has trained is not told


@pytest.fixture(scope="module")
def workers():
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")
    lent = Workers()
    yield lent
    lent.close()


@pytest.fixture
def judged(workers, embedded_frames, tmp_path):
    """Return a function that judges promises of an adapter."""

    def found(name, promises):
        spec = SystemSpec(f"{FILE}:{name}")
        make = system_factory(spec, workers)
        config = fit_to_system(embedded_config(embedded_frames), make().describe())
        bench = Bench(make, spec, config.model_dump(mode="json", by_alias=True), tmp_path)
        try:
            return [judge(PROMISES[promise], bench) for promise in promises]
        finally:
            bench.close()

    return found


UPDATES = ["every-update-is-adam", "gradients-go-on", "later-gradients-of-loss"]
STEPS = ["gradient-of-loss", "update-is-adam", "gradient-everywhere", "decay-alone"]
ACCUSED = {
    "Own": [*UPDATES, *STEPS, "resume-before-evaluation"],
    "Momentum": [*UPDATES, *STEPS, "training-moves"],
    "PlainSgd": ["training-moves"],
    "OfLion": ["checkpoint-complete"],
    "OneCycle": UPDATES,
    "Averaged": ["statistics-kept-share", "nan-score-stops"],
    "ClipsEach": ["gradient-of-loss", "micro-batches-weighed", "clip-checks-planned-update"],
    "FrozenPart": ["training-moves", "seeds-matter", *UPDATES],
    "Constant": ["training-moves", "seeds-matter", "checkpoint-complete"],
    "Pretrained": ["seeds-matter", "decay-alone"],
    "Detached": ["gradient-of-loss", "later-gradients-of-loss"],
    "NaNIsUnknown": ["bad-files-named"],
    "SinglePath": [*UPDATES, *STEPS, "training-moves", "fair-archs"],
    "TellsItsPath": [*UPDATES, *STEPS, "training-moves", "seeds-matter"],
}
"""Adapter to the promises that once took it for broken, and those beside them."""

_SLOW = ("Own", "SinglePath")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in _SLOW else pytest.mark.nightly)
        for n in ACCUSED
    ],
)
def test_an_honest_trainer_is_not_accused(judged, name):
    found = judged(name, ACCUSED[name])
    assert [(j.promise.id, j.text) for j in found if j.verdict not in ("holds", "n/a")] == []


@pytest.mark.nightly
def test_what_is_said_to_be_frozen_and_moves_is_broken(judged):
    (found,) = judged("SaysFrozen", ["training-moves"])
    assert found.verdict == "BROKEN"
    assert "head.bias after training: expected unchanged, frozen as declared" in found.text
