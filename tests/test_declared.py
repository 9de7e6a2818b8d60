"""What a trainer is can be declared: then it is judged by that, and a false word is broken."""

import re
from pathlib import Path

import pytest

from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.promises.setting import matrix_config
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

HERE = Path(__file__).parent / "numpy_trainer"


def judged(name, promises, frames, folder):
    """Return the judgements of promises on a system in its worker."""
    spec, workers = SystemSpec(f"{HERE / 'declared.py'}:{name}"), Workers()
    tree = matrix_config(frames).model_dump(mode="json", by_alias=True)
    bench = Bench(system_factory(spec, workers), spec, tree, folder)
    try:
        return {promise: judge(PROMISES[promise], bench) for promise in promises}
    finally:
        bench.close()
        workers.close()


STEPS = (
    "update-is-adam", "every-update-is-adam", "gradient-of-loss", "later-gradients-of-loss",
    "gradient-everywhere",
)  # fmt: skip
ONE = "update-is-adam"


@pytest.mark.parametrize("name", ["Sgd", "AdamW", "Adam"])
def test_a_declared_rule_is_judged_and_kept(name, embedded_frames, tmp_path):
    found = judged(name, STEPS, embedded_frames, tmp_path)
    verdicts = {promise: judgement.verdict for promise, judgement in found.items()}
    # Its steps report one loss for both archs, of which no slope of a later step is known.
    assert verdicts == dict.fromkeys(STEPS, "holds") | {"later-gradients-of-loss": "n/a"}


@pytest.mark.parametrize(
    ("name", "promise", "text"),
    [
        ("SaysNesterov", ONE, r"by SGD as declared, found .*: SGD without Nesterov's momentum"),
        ("SaysAnotherMomentum", "gradient-of-loss", r"slope of the mean loss .* found 6\.5"),
        ("SaysAdamW", ONE, r"0\.02 .* as AdamW is declared, found none: Adam's .*coupled L2"),
        ("SaysAdamW", "every-update-is-adam", r"as AdamW is declared, found none: Adam's step"),
        ("SaysAdam", ONE, r"none beside the step, as Adam is .* found 0\.02 of each, decoupled"),
        ("SaysItDecaysAll", ONE, r"decay of 1 weight such as head/kernel: .* found none"),
        ("SaysAnotherBeta", ONE, r"second moment .* with a beta_2 of 0\.99, not 0\.999"),
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
        ("NarrowSeesWide", "arch-executed", r"arch half after changing option 1 .* found another"),
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
        ("NoSupernet", "same-scores-alone", "the system declares no search space (describe()['s"),
    ],
)
def test_what_a_declared_space_rules_out_does_not_apply(
    name, promise, reason, embedded_frames, tmp_path
):
    found = judged(name, [promise], embedded_frames, tmp_path)[promise]
    assert (found.verdict, found.text[: len(reason)]) == ("n/a", reason)
