"""A trainer in PyTorch under the gate, by the base class of its adapter."""

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
BROKEN = {
    "ResumeLosesOptimizer": {"checkpoint-complete", "resume-exact", "checkpoint-verified"},
    "ResumeForgetsNumpy": {"checkpoint-complete", "resume-exact"},
    "ValidationDraws": {"eval-pure", "train-unobserved"},
    "ScoresUnknown": {"unknown-flow-unscored"},
    "TrainsOn": {"nan-stops"},
    "WorkersByNumber": {"augmentation-drawn-anew"},
    "ClipsTooLate": {"clip-arithmetic-update"},
    "FlipKeepsU": {"augmented-labels-follow"},
    "FlipsWhatItKeeps": {"augmented-labels-follow"},
    "StaysInEvaluation": {"training-moves", "resume-exact"},
}
HELD = {
    "metric-oracle", "metric-recomputed", "metric-alive", "epe-adds-up", "same-scores-again",
    "same-scores-fresh", "batch-mates-unseen", "eval-crop-centred", "eval-order-fixed",
    "clip-checks-planned-update", "clip-arithmetic-update", "training-moves", "all-finite",
    "changed-plan-told", "same-run-elsewhere", "seeds-matter", "bad-files-named",
    "nan-score-stops",
}.union(*BROKEN.values())  # fmt: skip


def tier(name):
    """What costs the most, and finds the least that others do not, is for the night."""
    late = name in (
        "FlipKeepsU", "ResumeForgetsNumpy", "TrainsOn", "ClipsTooLate", "UnpadsAtTheCorner",
    )  # fmt: skip
    return pytest.mark.nightly if late else pytest.mark.slow


def judged(name, promises, frames, folder):
    """Return what is judged of promises, all in one process."""
    spec, workers = SystemSpec(f"{HERE / name}"), Workers()
    tree = embedded_config(frames).model_dump(mode="json", by_alias=True)
    bench = Bench(system_factory(spec, workers), spec, tree, folder)
    try:
        return {promise: judge(PROMISES[promise], bench) for promise in promises}
    finally:
        bench.close()
        workers.close()


@pytest.mark.slow
def test_a_pytorch_trainer_keeps_what_applies(embedded_frames, tmp_path):
    quick = [name for name, promise in PROMISES.items() if promise.in_quick]
    found = judged("adapter.py:Torch", quick, embedded_frames, tmp_path)
    wrong = {
        n: f.violations or f.text for n, f in found.items() if f.verdict in ("BROKEN", "error")
    }
    assert wrong == {}
    assert {name for name, judgement in found.items() if judgement.verdict == "holds"} >= HELD


@pytest.mark.parametrize("name", [pytest.param(name, marks=tier(name)) for name in BROKEN])
def test_a_pytorch_trainers_own_fault_is_named(name, embedded_frames, tmp_path):
    asked = BROKEN[name] | {"same-scores-again"}
    found = judged(f"broken.py:{name}", asked, embedded_frames, tmp_path)
    assert {n for n, judgement in found.items() if judgement.verdict == "BROKEN"} == BROKEN[name]
    assert found["same-scores-again"].verdict == "holds"


@pytest.mark.nightly
def test_a_norm_that_is_frozen_by_design_is_no_breach(embedded_frames, tmp_path):
    found = judged("broken.py:FreezesItsNorm", {"training-moves"}, embedded_frames, tmp_path)
    assert found["training-moves"].verdict == "holds"


FRAMES = {
    "metric-recomputed", "metric-oracle", "metric-alive", "epe-adds-up", "eval-crop-centred",
    "eval-order-fixed", "batch-mates-unseen", "unknown-flow-unscored", "unknown-flow-masked",
    "same-scores-again",
}  # fmt: skip


PADDED = {
    "Padded": set(), "UnpadsAtTheCorner": {"metric-recomputed", "unknown-flow-unscored"},
}  # fmt: skip


@pytest.mark.parametrize(("name", "broken"), [
    pytest.param(name, broken, marks=tier(name)) for name, broken in PADDED.items()
])  # fmt: skip
def test_frames_that_are_padded_are_judged_whole(name, broken, embedded_frames, tmp_path):
    found = judged(f"padded.py:{name}", FRAMES, embedded_frames, tmp_path)
    assert {n for n, judgement in found.items() if judgement.verdict == "holds"} == FRAMES - broken
    assert {n for n, judgement in found.items() if judgement.verdict == "BROKEN"} == broken
