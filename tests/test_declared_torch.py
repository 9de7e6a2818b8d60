"""PyTorch's own optimizers keep what is declared of them, and are told from one another."""

from pathlib import Path

import pytest

from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.promises.setting import embedded_config
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")

HERE = Path(__file__).parent / "torch_trainer"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "verdict", "text"),
    [
        ("Usual", "holds", "6 steps of 5, 5, 1, 5, 5, 1 samples, lr 0.001 to 0.0005"),
        ("Decayed", "holds", "6 steps of 5, 5, 1, 5, 5, 1 samples, lr 0.001 to 0.0005"),
        (
            "Coupled",
            "BROKEN",
            "0.05 of each beside the step, decoupled, as AdamW is declared, found",
        ),
        ("PerEpoch", "holds", "6 steps of 5, 5, 1, 5, 5, 1 samples, lr 0.001 to 0.0005"),
        ("KeepsGradients", "BROKEN", "1 times the gradient of step 1 is in it: it was not set to"),
        ("PerStep", "BROKEN", "at the planned rate of 0.000933013, found 1.072 times as far"),
    ],
)
def test_an_optimizer_of_pytorch_is_what_it_is_declared_to_be(
    name, verdict, text, embedded_frames, tmp_path
):
    found = judged(name, "every-update-is-adam", embedded_frames, tmp_path)
    assert found.verdict == verdict
    assert text in found.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "verdict", "text"),
    [
        ("InItsGradient", "holds", "applied as reported per update alone"),
        ("ClipsTooFar", "BROKEN", "gradient clipped per update: expected norm"),
        ("Usual", "n/a", "a step moves norm.bias too, of which"),
    ],
)
def test_a_clip_is_told_from_a_decay_behind_it_and_from_weights_without_slots(
    name, verdict, text, embedded_frames, tmp_path
):
    found = judged(name, "clip-applied", embedded_frames, tmp_path)
    assert (found.verdict, text in found.text) == (verdict, True), found.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "verdict", "text"),
    [
        ("Usual", "holds", "4 weights moved the loss as their gradients say"),
        ("LearnsSlowly", "BROKEN", "head.bias moved along its gradient: expected"),
        ("StopsGradients", "n/a", "gradients are stopped by design"),
    ],
)
def test_a_gradient_of_one_weight_is_told_from_one_that_is_stopped_by_design(
    name, verdict, text, embedded_frames, tmp_path
):
    found = judged(name, "gradient-of-each-weight", embedded_frames, tmp_path)
    assert (found.verdict, text in found.text) == (verdict, True), found.text


def judged(name, promise, embedded_frames, tmp_path):
    """Return the judgement of a promise on a system in its worker."""
    spec, workers = SystemSpec(f"{HERE / 'declared.py'}:{name}"), Workers()
    tree = embedded_config(embedded_frames).model_dump(mode="json", by_alias=True)
    bench = Bench(system_factory(spec, workers), spec, tree, tmp_path)
    try:
        return judge(PROMISES[promise], bench)
    finally:
        bench.close()
        workers.close()
