import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config import parse_config, with_fc2_root
from harness.environment import apply_environment
from harness.fc2.decode import decode_triplet
from harness.fc2.layout import list_triplets
from harness.records.records import EPOCH_FIELDS

pytestmark = pytest.mark.real_frames

CONTRACT = [
    "epoch",
    "global_step",
    "mean_epe_12",
    "std_epe_12",
    "fairness_gap",
    "lr",
    "bn_recal_batches",
    "eval_batches_per_arch",
    "train_loss_epoch_avg",
    "train_grad_norm_epoch_avg",
    "grad_norm_p50",
    "grad_norm_p90",
    "grad_norm_p99",
    "clip_checks",
    "expected_clip_checks",
    "clip_count",
    "clip_rate",
    "eval_seconds",
    "bn_recal_seconds",
    "per_arch_epe_min",
    "per_arch_epe_median",
    "per_arch_epe_max",
    "kendall_tau_prev",
    "eval_batch_hash",
    "bn_recal_batch_hash",
]


def setting(root: Path, **train: Any) -> Any:
    tree = {
        "model": {"width": 2},
        "data": {"input_height": 64, "input_width": 96},
        "train": {"num_epochs": 2, "batch_size": 5, "micro_batch_size": 2, **train},
        "eval": {"eval_pool_size": 2, "bn_recal_batches": 1, "eval_batches_per_arch": 1},
    }
    config = with_fc2_root(parse_config(tree), root)
    apply_environment(config)
    return config


def test_genuine_triplets_decode_within_their_published_range(genuine_frames: Path) -> None:
    for split, count in (("train", 9), ("val", 3)):
        samples = list_triplets(genuine_frames / split)
        assert len(samples) == count
        for triplet in samples:
            decoded = decode_triplet(triplet)
            assert decoded.frames.shape == (384, 512, 6)
            assert decoded.valid.all()
            assert 0 < np.abs(decoded.flow).max() < 200


def test_genuine_flow_warps_frame_two_onto_frame_one(genuine_frames: Path) -> None:
    import cv2

    def error(frames: Any, flow: Any) -> float:
        """Median grey-level difference: occluded pixels have no match and must not decide."""
        y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
        warped = cv2.remap(frames[..., 3:], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        return float(np.median(np.abs(warped.astype(float) - frames[..., :3])))

    errors = []
    for triplet in list_triplets(genuine_frames / "train"):
        decoded = decode_triplet(triplet)
        flow = decoded.flow
        wrong = (flow[..., ::-1], -flow, 0 * flow)
        errors.append([error(decoded.frames, f) for f in (flow, *wrong)])
    right, *wrongs = np.transpose(errors)
    assert right.max() <= 2
    assert all(3 * right.sum() < wrong.sum() for wrong in wrongs)


@pytest.mark.parametrize(
    ("mode", "position", "checks"),
    [
        pytest.param({"epoch_mode": "full_pass"}, "micro_step", 15, marks=pytest.mark.slow),
        pytest.param({"epoch_mode": "full_pass"}, "update", 2, marks=pytest.mark.slow),
        pytest.param(
            {"epoch_mode": "fixed_steps", "steps_per_epoch": 3},
            "micro_step",
            27,
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            {"epoch_mode": "fixed_steps", "steps_per_epoch": 3},
            "update",
            3,
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_clip_checks_are_as_planned(
    mode: dict[str, Any], position: str, checks: int, genuine_frames: Path
) -> None:
    config = setting(genuine_frames, clip_position=position, **mode)
    from harness.systems.builtin import BuiltinSystem

    system = BuiltinSystem()
    system.open(config.model_dump(mode="json", by_alias=True))
    training = system.train(2)
    assert [row.clip_checks for row in training.epochs] == [checks, checks]
    assert [row.expected_clip_checks for row in training.epochs] == [checks, checks]
    row = asdict(training.epochs[1])
    assert set(CONTRACT) <= set(EPOCH_FIELDS)
    absent = [name for name in CONTRACT if row[name] is None and name not in row["reasons"]]
    assert absent == []


@pytest.mark.slow
def test_two_processes_evaluate_the_edgeflownas_crop_to_the_last_bit(
    genuine_frames: Path, tmp_path: Path
) -> None:
    def harness(*words: object) -> str:
        command = [sys.executable, "-m", "harness", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    config = tmp_path / "config.yaml"
    config.write_text(
        "model: {width: 4}\n"
        "train: {num_epochs: 2, epoch_mode: full_pass, batch_size: 5, micro_batch_size: 2}\n"
        "eval: {bn_recal_batches: 2, eval_batches_per_arch: full, eval_pool_size: 3}\n"
    )
    run = tmp_path / "run"
    harness("train", "--config", config, "--fc2-root", genuine_frames, "--run", run)
    results = []
    for name in ("one.json", "two.json"):
        text = harness("eval", "--run", run, "--checkpoint", "last", "--json", tmp_path / name)
        assert "equal to the last bit" in text
        results.append(json.loads((tmp_path / name).read_text()))
    one, two = results
    clock = {"eval_seconds", "bn_recal_seconds", "seal"}  # which is of the seconds, too
    assert {key: one[key] for key in one.keys() - clock} == {k: two[k] for k in two.keys() - clock}


@pytest.mark.nightly
def test_the_gate_is_green_on_genuine_frames(genuine_frames: Path, tmp_path: Path) -> None:
    file = tmp_path / "gate.json"
    command = [sys.executable, "-m", "pytest", "invariants", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--fc2-root", str(genuine_frames), "--gate-file", str(file)],
        capture_output=True, text=True, check=False, timeout=600,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    gate = json.loads(file.read_text())
    assert gate["verdict"] == "green"
    assert "9 of 9 train samples" in done.stdout
