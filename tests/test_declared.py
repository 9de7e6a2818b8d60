"""What a trainer is can be declared: then it is judged by that, and a false word is broken."""

import re
from pathlib import Path

import pytest

from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.promises.score_means import Evaluations, epe_adds_up
from harness.promises.setting import matrix_config
from harness.systems.opening import system_factory
from harness.systems.protocol import Evaluation
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

HERE = Path(__file__).parent / "numpy_trainer"


def judged(name, promises, frames, folder, file="declared.py"):
    """Return the judgements of promises on a system in its worker."""
    spec, workers = SystemSpec(f"{HERE / file}:{name}"), Workers()
    tree = matrix_config(frames).model_dump(mode="json", by_alias=True)
    bench = Bench(system_factory(spec, workers), spec, tree, folder)
    try:
        return {promise: judge(PROMISES[promise], bench) for promise in promises}
    finally:
        bench.close()
        workers.close()


def late(*values):
    """Leave a case to the slow tier, of which another one is quick."""
    return pytest.param(*values, marks=pytest.mark.slow)


STEPS = (
    "update-is-adam", "every-update-is-adam", "gradient-of-loss", "later-gradients-of-loss",
    "gradient-everywhere",
)  # fmt: skip
ONE = "update-is-adam"


@pytest.mark.parametrize("name", ["Sgd", *map(late, ["AdamW", "Adam"])])
def test_a_declared_rule_is_judged_and_kept(name, embedded_frames, tmp_path):
    found = judged(name, STEPS, embedded_frames, tmp_path)
    verdicts = {promise: judgement.verdict for promise, judgement in found.items()}
    # Its steps report one loss for both archs, of which no slope of a later step is known.
    assert verdicts == dict.fromkeys(STEPS, "holds") | {"later-gradients-of-loss": "n/a"}


@pytest.mark.parametrize(
    ("name", "promise", "text"),
    [
        late("SaysNesterov", ONE, r"by SGD as declared, found .*: SGD without Nesterov's momentum"),
        late("SaysAnotherMomentum", "gradient-of-loss", r"slope of the mean loss .* found 6\.1"),
        ("SaysAdamW", ONE, r"0\.02 .* as AdamW is declared, found none: Adam's .*coupled L2"),
        late("SaysAdamW", "every-update-is-adam", r"as AdamW is declared, found none: Adam's step"),
        ("SaysAdam", ONE, r"none beside the step, as Adam is .* found 0\.02 of each, decoupled"),
        (
            "SaysConstant",
            "every-update-is-adam",
            r"step 1 of epoch 2 .* planned rate of 0\.001, found 0\.5 times as far",
        ),
        late("SaysItDecaysAll", ONE, r"decay of 1 weight such as head/kernel: .* found none"),
        late("SaysAnotherBeta", ONE, r"second moment .* with a beta_2 of 0\.99, not 0\.999"),
    ],
)
def test_a_rule_that_is_not_the_declared_one_is_broken(
    name, promise, text, embedded_frames, tmp_path
):
    found = judged(name, [promise], embedded_frames, tmp_path)[promise]
    assert found.verdict == "BROKEN"
    assert re.search(text, " ".join(found.violations))


def test_of_a_rule_of_its_own_no_step_is_recomputed(embedded_frames, tmp_path):
    found = judged("SaysOwn", STEPS, embedded_frames, tmp_path)
    assert {f.verdict for f in found.values()} == {"n/a"}
    assert "declares an update rule of its own (describe()['update'])" in found[ONE].text


SPACE = (
    "arch-executed", "unrun-options-unseen", "same-scores-alone", "fair-archs",
    "gradient-everywhere", "pool-as-declared",
)  # fmt: skip
HELD = dict.fromkeys(SPACE, "holds") | {"pool-as-declared": "n/a"}


def test_named_options_that_share_slices_of_a_kernel_are_judged(embedded_frames, tmp_path):
    found = judged("Elastic", SPACE, embedded_frames, tmp_path)
    assert {promise: judgement.verdict for promise, judgement in found.items()} == HELD
    assert "nine blocks of three digits, the system has 1 block of 2" in found[SPACE[-1]].text


@pytest.mark.parametrize(
    ("name", "promise", "text"),
    [
        ("NarrowSeesWide", "unrun-options-unseen", r"arch half, .* the score depends on options"),
        late(
            "NarrowSeesWide", "arch-executed", r"arch half after changing option 1 .* found another"
        ),
        ("WideStaysAsItWas", "gradient-everywhere", r"gradient of hidden/kernel in a fair step"),
        (
            "TrainsWideAlone",
            "fair-archs",
            r"options half, full once each, found \('full', 'full'\)",
        ),
    ],
)
def test_a_space_that_is_not_the_declared_one_is_broken(
    name, promise, text, embedded_frames, tmp_path
):
    found = judged(name, [promise], embedded_frames, tmp_path)[promise]
    assert found.verdict == "BROKEN"
    assert re.search(text, " ".join(found.violations))


@pytest.mark.parametrize(
    ("name", "promise", "reason"),
    [
        ("TrainsAsItLikes", "fair-archs", "the system declares 'own' sampling of archs"),
        ("NoSupernet", "fair-archs", "the system declares no search space (describe()['space']"),
        late(
            "NoSupernet", "same-scores-alone", "the system declares no search space (describe()['s"
        ),
    ],
)
def test_what_a_declared_space_rules_out_does_not_apply(
    name, promise, reason, embedded_frames, tmp_path
):
    found = judged(name, [promise], embedded_frames, tmp_path)[promise]
    assert (found.verdict, found.text[: len(reason)]) == ("n/a", reason)


MEAN = ("epe-adds-up", "metric-recomputed", "unknown-flow-unscored", "metric-oracle")


def test_a_declared_mean_over_pixels_is_judged_and_kept(embedded_frames, tmp_path):
    found = judged("OverPixels", MEAN, embedded_frames, tmp_path)
    assert {promise: f.verdict for promise, f in found.items()} == dict.fromkeys(MEAN, "holds")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SaysPixels", r"all-zero flow over \d+ valid pixels of 4 samples: .*: the mean over samp"),
        ("CountsAllPixels", r"arch half, valid pixels of sample number 0: expected 484, found 512"),
    ],
)
def test_a_mean_that_is_not_over_pixels_is_broken(name, text, embedded_frames, tmp_path):
    found = judged(name, [MEAN[2]], embedded_frames, tmp_path)[MEAN[2]]
    assert found.verdict == "BROKEN"
    assert re.search(text, " ".join(found.violations))


def test_without_the_pixels_of_samples_no_mean_over_them_is_recomputed(embedded_frames, tmp_path):
    found = judged("TellsNoPixels", MEAN[:1], embedded_frames, tmp_path)[MEAN[0]]
    assert (found.verdict, found.text) == (
        "n/a",
        "the system declares a mean over pixels (describe()['mean']), and evaluate() returns no "
        "pixels of its samples",
    )


SCORES = {"archs": ("a",), "per_sample": {"a": (1.0, 3.0)}, "zero_flow_epe": 9.0}


@pytest.mark.parametrize(
    ("pixels", "epe", "text"),
    [
        ((10, 30), 2.5, ""),
        ((0, 30), 3.0, ""),
        (
            (10, 30), 2.0,
            "evaluation of the pool, arch a: expected 2.500000 px, the mean over 40 valid pixels "
            "of 2 samples, found 2.000000 px: the mean over samples, not over pixels",
        ),
    ],
)  # fmt: skip
def test_a_mean_over_pixels_adds_up_by_their_counts(pixels, epe, text):
    scores = Evaluation(
        per_arch_epe=(epe,), mean_epe=epe, eval_batch_hash="", pixels=pixels, **SCORES
    )
    found = epe_adds_up(Evaluations((("the pool", scores),), "pixels"))
    assert "; ".join(map(str, found.violations)) == text


DEVICES = {
    "moving-statistics": "the system trains on 4 devices (describe()['devices']): each normalises",
    "micro-batches-weighed": "the system trains on 4 devices (describe()['devices']): each cuts i",
    "micro-batches-followed": "the system trains on 4 devices (describe()['devices']): each norm",
    "clip-checks-planned-micro-step": "the system trains on 4 devices (describe()['devices']): e",
    "loss-recomputed": "the system declares a loss of its own (describe()['loss'])",
}


def test_what_several_devices_or_an_own_loss_rule_out_does_not_apply(embedded_frames, tmp_path):
    found = judged("OnFour", [*DEVICES, ONE], embedded_frames, tmp_path)
    for promise, reason in DEVICES.items():
        assert (found[promise].verdict, found[promise].text[: len(reason)]) == ("n/a", reason)
    assert found[ONE].verdict == "holds"


def test_whose_check_it_is_that_finds_a_nan_is_said(embedded_frames, tmp_path):
    found = judged("Sgd", ["nan-score-stops", "nan-stops"], embedded_frames, tmp_path)
    assert {f.verdict for f in found.values()} == {"holds"}
    assert found["nan-score-stops"].warnings == (
        "the adapter's own check in evaluate() refuses it, the trainer alone would go on",
    )
    assert found["nan-stops"].warnings == ()


@pytest.mark.parametrize(("name", "verdict", "text"), [
    ("ScoresAnother", "holds", ""),
    ("ScoresAnotherOnly", "BROKEN", "a NaN in head/kernel: expected an error that names head/ker"),
])  # fmt: skip
def test_a_nan_is_put_into_what_is_scored(name, verdict, text, embedded_frames, tmp_path):
    (found,) = judged(name, ["nan-score-stops"], embedded_frames, tmp_path).values()
    assert found.verdict == verdict
    assert text in found.text


def test_what_only_stops_within_an_epoch_is_walked_and_not_resumed_there(embedded_frames, tmp_path):
    promises = ["every-update-is-adam", "later-gradients-of-loss", "resume-mid-epoch"]
    found = judged("OnlyStops", promises, embedded_frames, tmp_path)
    assert [found[name].verdict for name in promises] == ["holds", "n/a", "n/a"]
    assert "does not resume within an epoch" in found["later-gradients-of-loss"].text
