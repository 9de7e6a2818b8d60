import csv
import dataclasses
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import parse_config
from harness.evaluation.ranking import kendall_tau
from harness.records.records import EPOCH_FIELDS, EvalRecord, NoteRecord, to_json
from harness.training.epochlog import EpochCsv, effective_rows, epoch_row
from harness.training.progress import EpochSums, PreviousScores, Progress

CONTRACT = (
    "epoch", "global_step", "mean_epe_12", "std_epe_12", "fairness_gap", "lr", "bn_recal_batches",
    "eval_batches_per_arch", "train_loss_epoch_avg", "train_grad_norm_epoch_avg", "grad_norm_p50",
    "grad_norm_p90", "grad_norm_p99", "clip_checks", "expected_clip_checks", "clip_count",
    "clip_rate", "eval_seconds", "bn_recal_seconds", "per_arch_epe_min", "per_arch_epe_median",
    "per_arch_epe_max", "kendall_tau_prev", "eval_batch_hash", "bn_recal_batch_hash",
)  # fmt: skip
OF_EVALUATION = {
    "mean_epe_12", "std_epe_12", "bn_recal_batches", "eval_batches_per_arch", "eval_seconds",
    "bn_recal_seconds", "per_arch_epe_min", "per_arch_epe_median", "per_arch_epe_max",
    "kendall_tau_prev", "eval_batch_hash", "bn_recal_batch_hash", "eval_pool_size",
    "zero_flow_epe",
}  # fmt: skip
ARCHS = ("000000000", "111111111", "222222222", "012012012")
EPE = (4.0, 2.5, 1.0, 3.0)
NORMS = (3.0, 80.0, 1.0, 60.0, 5.0, 7.0)
PROGRESS = Progress(
    epoch=1, step=2, global_step=4, counts=((4, 4, 4),) * 8 + ((5, 4, 3),),
    sums=EpochSums(losses=(1.0, 2.0, 6.0), norms=NORMS, clipped=2, lr=2.5e-4),
)  # fmt: skip
SCORES = EvalRecord(
    ARCHS, EPE, 2.625, statistics.pstdev(EPE), 7.5, 7, 3, 4, 2, "e" * 32, "b" * 32, "5" * 32,
    "0" * 32, None, 1.25, 0.75, 2,
)  # fmt: skip


def row(scores=SCORES, **changes):
    progress = dataclasses.replace(PROGRESS, **changes)
    config = parse_config({"eval": {"eval_every_epoch": 3}})
    return epoch_row(progress, scores, config=config, rank=kendall_tau, expected=15)


def cells(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", CONTRACT)
def test_a_field_of_the_contract_is_a_column_of_the_log(tmp_path, name):
    EpochCsv(tmp_path / "epochs.csv")(row())
    assert name in cells(tmp_path / "epochs.csv")[0]


def test_the_row_follows_from_steps_and_scores():
    found = dataclasses.asdict(row())
    expected = {
        "epoch": 2, "global_step": 4, "mean_epe_12": 2.625, "std_epe_12": statistics.pstdev(EPE),
        "fairness_gap": 2, "lr": 2.5e-4, "bn_recal_batches": 2, "eval_batches_per_arch": 3,
        "train_loss_epoch_avg": 3.0, "clip_checks": 6, "expected_clip_checks": 15,
        "clip_count": 2, "clip_rate": 2 / 6, "eval_seconds": 1.25, "bn_recal_seconds": 0.75,
        "per_arch_epe_min": 1.0, "per_arch_epe_median": 2.75, "per_arch_epe_max": 4.0,
        "eval_batch_hash": "e" * 32, "bn_recal_batch_hash": "b" * 32, "eval_pool_size": 4,
        "zero_flow_epe": 7.5, "checkpoint_digest": None, "train_grad_norm_epoch_avg": 26.0,
        "grad_norm_p50": 6.0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("before", "scores", "best"),
    [
        (None, None, None),
        (3.0, None, 3.0),
        (None, SCORES, 2.625),
        (3.0, SCORES, 2.625),
        (2.0, SCORES, 2.0),
    ],
)
def test_the_best_epe_is_the_lowest_so_far(before, scores, best):
    found = row(scores, best_metric=before)
    assert found.best_epe == best
    assert ("best_epe" in found.reasons) == (best is None)


@given(norms=st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_norm_figures_are_of_exactly_the_norms_that_were_checked(norms):
    found = row(sums=dataclasses.replace(PROGRESS.sums, norms=tuple(norms), clipped=0))
    ordered = sorted(norms)
    for name, q in (("grad_norm_p50", 0.5), ("grad_norm_p90", 0.9), ("grad_norm_p99", 0.99)):
        place = q * (len(norms) - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        expected = low + (high - low) * (place - math.floor(place))
        assert getattr(found, name) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert found.train_grad_norm_epoch_avg == pytest.approx(np.mean(norms), rel=1e-12)
    assert found.clip_checks == len(norms)


def test_without_an_evaluation_its_fields_are_null_with_the_reason():
    found = row(scores=None)
    null = {name for name in EPOCH_FIELDS if getattr(found, name) is None}
    assert null == OF_EVALUATION | {"best_epe", "checkpoint_digest"}
    assert set(found.reasons) == OF_EVALUATION | {"best_epe"}
    assert {found.reasons[name] for name in OF_EVALUATION} == {
        "no evaluation in this epoch (eval_every_epoch is 3)"
    }
    assert found.reasons["best_epe"] == "no evaluation yet"
    assert found.clip_rate == 2 / 6


@pytest.mark.parametrize(
    ("previous", "reason"),
    [
        (None, "no previous evaluation"),
        (PreviousScores(ARCHS[::-1], EPE, "e" * 32), "the previous evaluation scored another pool"),
        (
            PreviousScores(ARCHS[:3], EPE[:3], "e" * 32),
            "the previous evaluation scored another pool",
        ),
        (PreviousScores(ARCHS, EPE, "f" * 32), "the previous evaluation scored other batches"),
        (PreviousScores(ARCHS, (2.0,) * 4, "e" * 32), "the previous ranking is constant"),
    ],
    ids=["first", "reordered", "smaller", "other batches", "constant"],
)
def test_tau_is_null_where_it_is_undefined_and_says_why(previous, reason):
    found = row(previous=previous)
    assert found.kendall_tau_prev is None
    assert found.reasons == {"kendall_tau_prev": reason}


def test_tau_compares_with_the_previous_evaluation():
    found = row(previous=PreviousScores(ARCHS, (3.0, 4.0, 1.0, 3.5), "e" * 32))
    assert found.kendall_tau_prev == pytest.approx(0.0, abs=1e-12)
    found = row(previous=PreviousScores(ARCHS, (40.0, 25.0, 10.0, 30.0), "e" * 32))
    assert found.kendall_tau_prev == pytest.approx(1.0)
    assert found.reasons == {}


def test_a_row_without_a_step_is_an_error():
    with pytest.raises(ValueError, match="epoch 2 has no step to log"):
        row(sums=EpochSums())


@pytest.mark.parametrize("scores", [None, SCORES], ids=["no evaluation", "evaluation"])
def test_a_row_is_strict_json(scores):
    values = to_json(row(scores))
    assert set(CONTRACT) < set(values)
    assert not any(isinstance(v, float) and not math.isfinite(v) for v in values.values())


def test_the_header_is_written_once_over_two_attempts(tmp_path):
    path = tmp_path / "epochs.csv"
    EpochCsv(path)(row())
    EpochCsv(path)(row(epoch=2, global_step=6))
    assert path.read_text().splitlines()[0] == ",".join(EPOCH_FIELDS)
    assert [(r["epoch"], r["global_step"]) for r in cells(path)] == [("2", "4"), ("3", "6")]


def test_an_epoch_of_another_segment_or_state_gets_a_row_and_makes_later_ones_void(tmp_path):
    path = tmp_path / "epochs.csv"
    again = dataclasses.replace(row(epoch=1), segment="b")
    for record in (row(epoch=1), row(epoch=2), row(epoch=2), again, again):
        EpochCsv(path)(record)
    assert [(r["epoch"], r["segment"]) for r in cells(path)] == [
        ("2", "main"),
        ("3", "main"),
        ("2", "b"),
    ]
    assert [(r["epoch"], r["segment"]) for r in effective_rows(path)] == [("2", "b")]


def test_a_row_that_was_cut_short_is_written_again(tmp_path):
    path = tmp_path / "epochs.csv"
    EpochCsv(path)(row(epoch=1))
    whole = path.read_bytes()
    path.write_bytes(whole + b"3,6,1.25")
    EpochCsv(path)(row(epoch=2))
    assert path.read_bytes().startswith(whole)
    assert [r["epoch"] for r in cells(path)] == ["2", "3"]


def test_an_empty_file_gets_its_header(tmp_path):
    path = tmp_path / "epochs.csv"
    path.touch()
    EpochCsv(path)(row())
    assert cells(path)[0]["clip_count"] == "2"


def test_null_is_an_empty_cell_and_numbers_keep_every_digit(tmp_path):
    path = tmp_path / "epochs.csv"
    EpochCsv(path)(row(scores=None))
    (found,) = cells(path)
    assert {name for name, cell in found.items() if cell == ""} > OF_EVALUATION
    assert float(found["clip_rate"]) == 2 / 6
    assert "nan" not in path.read_text().lower()


def test_only_epochs_are_rows_of_the_log(tmp_path):
    log = EpochCsv(tmp_path / "epochs.csv")
    for record in (NoteRecord(1, "a note"), SCORES):
        log(record)
    assert not (tmp_path / "epochs.csv").exists()
