"""What an audit finds in runs of other trainers: each finding comes with its cause, and goes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import main
from harness.fc2.synthetic import write_dataset
from harness.foreign.columns import KNOWN
from harness.foreign.registry import CHECKS
from tests.foreign_runs import Made, write_edgeflownas, write_lightning, write_mmengine
from tests.report_runs import write as write_ours
from tests.synthetic_run import make_records

SOUND = Made()
EARLY = Made(generation="8f83824")
CONFIGURED = ["--set", "train.micro_batch_size=4", "--set", "train.batch_size=10"]
FEW = Made(threshold=70.0, norm=60.0)  # clips some, so that checks can be counted


def audited(folder, *words):
    """Return exit code and result of an audit."""
    out = folder.parent / f"{folder.name}.json"
    code = main(["audit", str(folder), *map(str, words), "--json", str(out)])
    return code, json.loads(out.read_text())


def found(folder, *words):
    code, result = audited(folder, *words)
    names = {name for name, one in result["measured"].items() if one["verdict"] == "found"}
    assert code == (1 if names else 0)
    assert set(result["interpretation"]) == names
    return names


# The finding, the run that has it, the same with its cause mended, and what is said beside it.
CAUSES = [
    ("epe-below-zero-flow", replace(SOUND, epe=7.2), SOUND, ["--zero-flow", "7.5"]),
    ("pool-spread", replace(SOUND, spread=0.0), SOUND, []),
    ("ranking-beyond-chance", replace(SOUND, noise=2.0), SOUND, []),
    ("clip-not-saturated", replace(SOUND, threshold=5.0), SOUND, []),
    ("clip-not-saturated", replace(EARLY, threshold=5.0), EARLY, []),
    ("micro-batches-as-configured", replace(EARLY, threshold=70.0, micro=10),
     replace(EARLY, threshold=70.0), CONFIGURED),
    ("plan-as-configured", replace(EARLY, micro=10), EARLY, CONFIGURED),
    ("plan-as-configured", Made(generation="5f197cd", configured_micro=10),
     Made(generation="5f197cd"), []),
    ("rate-as-used", replace(EARLY, ahead=True), EARLY, []),
    ("rate-as-used", Made(generation="v2", ahead=True), Made(generation="v2"), []),
    ("options-fair", replace(SOUND, unfair=True), SOUND, []),
    ("options-fair", Made(generation="v3", unfair=True), Made(generation="v3"), []),
    ("rows-differ", replace(SOUND, repeated=True), SOUND, []),
    ("columns-move", replace(SOUND, flat=True, noise=0.0), SOUND, []),
    ("values-finite", replace(SOUND, nan=True), SOUND, []),
    ("log-complete", replace(SOUND, resumed=3), SOUND, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wrong", "mended", "words"), CAUSES,
    ids=[f"{name}-{wrong.generation}" for name, wrong, *_ in CAUSES],
)  # fmt: skip
def test_a_finding_comes_with_its_cause_and_goes_when_it_is_mended(
    tmp_path, name, wrong, mended, words
):
    assert name in found(write_edgeflownas(tmp_path / "wrong", wrong), *words)
    assert found(write_edgeflownas(tmp_path / "mended", mended), *words) == set()


def test_every_check_has_a_cause_here():
    told = {name for name, *_ in CAUSES} | {"checkpoint-metric-logged"}
    assert {check.id for check in CHECKS} == told


def test_counts_that_a_resume_began_anew_are_found_though_no_option_lags(tmp_path):
    folder = write_edgeflownas(tmp_path / "a", SOUND)
    path = folder / "fairness_counts.json"
    counts = json.loads(path.read_text())
    path.write_text(json.dumps({b: dict.fromkeys(options, 7) for b, options in counts.items()}))
    assert found(folder) == {"options-fair"}
    _, result = audited(folder)
    said = result["measured"]["options-fair"]["text"]
    assert said == "block '0' has [7, 7, 7], expected 35 of each after as many steps"


def test_the_page_has_every_check_and_every_name_of_a_column():
    page = (Path(__file__).parents[1] / "docs" / "foreign-runs.md").read_text(encoding="utf-8")
    assert [check.id for check in CHECKS if f"| `{check.id}` |" not in page] == []
    assert [name for name in KNOWN if f"`{name}`" not in page] == []


def test_a_kill_between_a_checkpoint_and_its_line_is_no_finding(tmp_path):
    folder = write_edgeflownas(tmp_path / "a", replace(SOUND, finished=False))
    log = folder / "train.log"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-1]))
    assert found(folder) == set()
    log.write_text("".join(lines[:-2]))
    assert found(folder) == {"checkpoint-metric-logged"}


def test_a_checkpoint_of_another_attempt_is_found(tmp_path):
    folder = write_edgeflownas(tmp_path / "a", SOUND)
    assert found(folder) == set()
    path = folder / "checkpoints" / "supernet_best.ckpt.meta.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps(meta | {"metric": meta["metric"] - 0.5}))
    assert found(folder) == {"checkpoint-metric-logged"}


def test_a_table_and_a_log_that_differ_or_lack_an_epoch_are_found(tmp_path):
    folder = write_edgeflownas(tmp_path / "a", SOUND)
    log, whole = folder / "train.log", (folder / "train.log").read_text()
    log.write_text(whole.replace("loss=4.500000", "loss=4.500001"))
    assert found(folder) == {"log-complete"}
    log.write_text("".join(line for line in whole.splitlines(True) if "epoch=3 " not in line))
    _, result = audited(folder)
    said = result["measured"]["log-complete"]["text"]
    assert "has no epoch 3" in said
    assert "the table has epoch 3, which the log does not have" in said
    (folder / "eval_epe_history.csv").unlink()
    log.write_text(whole)
    assert found(folder) == {"log-complete"}


@pytest.mark.parametrize("generation", ["2ef204e", "v3"])
def test_checks_of_updates_are_told_from_those_of_micro_steps(tmp_path, generation):
    made = Made(generation=generation, threshold=5.0)
    _, result = audited(write_edgeflownas(tmp_path / "a", made))
    one = result["measured"]["micro-batches-as-configured"]
    assert one["verdict"] == "holds"
    assert "7 clip checks in 7 steps, 1 a step: clipped once an update" in one["text"]
    _, result = audited(tmp_path / "a", "--set", "train.clip_position=micro_step")
    assert result["measured"]["micro-batches-as-configured"]["verdict"] == "found"


@pytest.mark.parametrize("generation", ["8f83824", "3261988", "2ef204e", "902a0e1", "v2", "v3"])
@pytest.mark.parametrize("finished", [True, False])
def test_runs_of_every_generation_are_read_finished_or_killed(tmp_path, generation, finished):
    made = Made(generation=generation, finished=finished)
    _, result = audited(write_edgeflownas(tmp_path / "a", made))
    assert result["verdict"] == "clean"
    assert result["epochs"] == made.epochs
    killed = [note for note in result["notes"] if "under way or was killed" in note]
    assert bool(killed) == (not finished)
    assert ("ranking-beyond-chance" in result["measured"]) == made.ranked


def test_the_figures_are_those_that_the_plan_found_by_hand(tmp_path):
    """150 checks in 50 steps of three archs imply one micro-batch; norms of 90 to 140 at 5."""
    made = replace(EARLY, steps=50, batch=32, micro=32, threshold=5.0, norm=100.0, ahead=True)
    folder = write_edgeflownas(tmp_path / "a", made)
    _, result = audited(folder, "--set", "train.micro_batch_size=8")
    micro = result["measured"]["micro-batches-as-configured"]["values"]
    assert (micro["checks"], micro["implied"], micro["configured"]) == (150, 1, 4)
    clip = result["measured"]["clip-not-saturated"]["values"]
    assert clip["factor"] == pytest.approx(20, rel=0.1)
    said = result["measured"]["clip-not-saturated"]["text"]
    assert f"{clip['factor']:.3g} times the threshold 5" in said
    assert clip["norm_is"] == "mean"  # this generation logs no quantiles
    assert result["measured"]["rate-as-used"]["values"]["ahead"] == 1


def test_what_could_not_be_checked_says_why(tmp_path):
    _, result = audited(write_edgeflownas(tmp_path / "a", SOUND))
    unmade = result["not_made"]
    assert "--zero-flow PX, or --fc2-root DIR" in unmade["epe-below-zero-flow"]
    assert unmade["micro-batches-as-configured"].startswith("nothing was clipped")
    assert unmade["eval-batches-fixed"] == "no digest of the scored batches is logged"
    assert not set(unmade) & set(result["measured"])
    assert {check.id for check in CHECKS} <= {*unmade, *result["measured"]}


@pytest.mark.parametrize("lacking", ["", "train.log", "eval_epe_history.csv"])
def test_epochs_without_an_evaluation_are_no_gap(tmp_path, lacking):
    made = Made(generation="v3", epochs=5, every=2, finished=lacking != "eval_epe_history.csv")
    folder = write_edgeflownas(tmp_path / "a", made)
    if lacking and made.finished:
        (folder / lacking).unlink()
    _, result = audited(folder)
    assert result["verdict"] == "clean"
    assert result["evaluations"] == 2
    assert result["epochs"] == (2 if lacking == "train.log" else 5)


def test_a_rate_that_is_no_share_is_not_judged_and_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("epoch,loss,clip_rate\n1,3,0.5\n2,2,1.5\n")
    _, result = audited(path)
    assert "found 1.5 (a.csv, line 3)" in result["not_made"]["clip-not-saturated"]


def test_measurement_and_interpretation_stand_apart(tmp_path, capsys):
    main(["audit", str(write_edgeflownas(tmp_path / "a", replace(SOUND, threshold=5.0)))])
    lines = capsys.readouterr().out.splitlines()
    measured, unmade, meaning = (
        lines.index(title)
        for title in ("Measured", "Not checked, and why", "What the findings usually mean")
    )
    assert measured < unmade < meaning
    (line,) = (line for line in lines if line.startswith("FOUND"))
    assert measured < lines.index(line) < unmade
    assert "clip rate 1.0000" in line
    assert "The step length" not in line
    assert lines[meaning + 1].startswith("clip-not-saturated: The step length is the threshold's")
    assert lines[-1] == "AUDIT BROKEN: 11 checks hold, 1 finding, 5 not made"


def test_the_zero_flow_is_measured_as_the_trainer_scores(tmp_path):
    write_dataset(tmp_path / "fc2", train=1, val=3, height=72, width=104)
    folder = write_edgeflownas(tmp_path / "a", replace(SOUND, batch=1, micro=1))
    _, result = audited(folder, "--fc2-root", tmp_path / "fc2")
    values = result["measured"]["epe-below-zero-flow"]["values"]
    # Four batches of one are the first sample of three once more.
    assert values["zero_flow_source"] == (
        "measured on 3 samples of fc2/val, centre 32 x 48, labels clipped at 50 px"
    )
    assert values["zero_flow_epe"] == pytest.approx(by_hand(tmp_path / "fc2" / "val"), rel=1e-6)
    less = ["--set", "eval.flow_clip=1"]
    _, result = audited(folder, "--fc2-root", tmp_path / "fc2", *less)
    values = result["measured"]["epe-below-zero-flow"]["values"]
    clipped = by_hand(tmp_path / "fc2" / "val", clip=1)
    assert values["zero_flow_epe"] == pytest.approx(clipped, rel=1e-6)


def by_hand(folder, clip=50):
    """Return the same by NumPy alone."""
    import numpy as np

    scores = []
    for path in sorted(folder.glob("*-flow_01.flo")):
        flow = np.frombuffer(path.read_bytes()[12:], "<f4").reshape(72, 104, 2)
        crop = np.clip(flow[20:52, 28:76].astype(np.float64), -clip, clip)
        scores.append(np.hypot(crop[..., 0], crop[..., 1]).mean())
    return (2 * scores[0] + scores[1] + scores[2]) / 4


def test_a_later_attempt_makes_what_it_repeats_void(tmp_path):
    folder = write_edgeflownas(tmp_path / "a", replace(SOUND, finished=False))
    log = folder / "train.log"
    lines = log.read_text().splitlines(keepends=True)
    again = [line.replace("epoch=5", "epoch=4") for line in lines if "epoch=5" in line]
    log.write_text("".join([*lines, *lines[:6], *again]))
    _, result = audited(folder)
    assert result["epochs"] == 4
    assert any("begun 2 times" in n and "2 epochs void" in n for n in result["notes"])


@pytest.mark.parametrize("write", [write_lightning, write_mmengine])
def test_logs_of_steps_are_audited_with_what_is_said_beside_them(tmp_path, write):
    folder = write(tmp_path / "a", norm=3.0)
    assert found(folder) == set()
    assert found(folder, "--set", "train.grad_clip_global_norm=1") == {"clip-not-saturated"}
    assert found(folder, "--set", "train.grad_clip_global_norm=4") == set()
    assert found(folder, "--zero-flow", "1.7") == {"epe-below-zero-flow"}
    assert found(folder, "--zero-flow", "5") == set()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("ahead", [0, 1])
def test_a_rate_that_is_ahead_is_found_however_epochs_are_counted(tmp_path, first, ahead):
    path = tmp_path / "a.csv"
    rates = [1e-3 * (1 + math.cos(math.pi * (7 * n - 1 + ahead) / 21)) / 2 for n in (1, 2, 3)]
    rows = [f"{n + first},{9 - n},{rate!r}" for n, rate in enumerate(rates)]
    path.write_text("\n".join(["epoch,loss,lr", *rows]) + "\n")
    plan = ["train.num_epochs=3", "train.steps_per_epoch=7", "train.lr_schedule=cosine"]
    names = found(path, *(word for one in plan for word in ("--set", one)))
    assert names == ({"rate-as-used"} if ahead else set())


def test_a_log_of_iterations_is_cut_at_its_validations(tmp_path):
    _, result = audited(write_mmengine(tmp_path / "a", by_epoch=False))
    assert (result["epochs"], result["evaluations"]) == (3, 3)
    assert any("what lies before each validation counts as one" in n for n in result["notes"])


def test_any_table_is_read_with_its_columns_named(tmp_path, capsys):
    path = tmp_path / "history.csv"
    path.write_text("round,score,gnorm\n1,5.0,3\n2,4.0,2\n3,3.5,4\n")
    named = ["--column", "epoch=round", "--column", "epe=score", "--column", "norm=gnorm"]
    assert main(["audit", str(path), *named, "--zero-flow", "3.6"]) == 1
    assert "0.97 of an all-zero flow's" in capsys.readouterr().out
    assert main(["audit", str(path)]) == 2
    error = capsys.readouterr().err
    assert "--column NAME=COLUMN; it has 'round', 'score', 'gnorm'" in error


def test_a_run_of_ours_is_read_as_ours(tmp_path, capsys):
    folder = write_ours(tmp_path, make_records())
    write_edgeflownas(tmp_path / "b", SOUND)
    (tmp_path / "b" / "train.log").rename(folder / "train.log")
    assert main(["audit", str(folder)]) == 0
    assert "promises hold" in capsys.readouterr().out
    other = tmp_path / "ledger.csv"
    (folder / "ledger.jsonl").rename(other)
    assert main(["audit", str(other)]) == 0
    assert "promises hold" in capsys.readouterr().out
    assert main(["audit", str(other), "--zero-flow", "3"]) == 2
    assert "is for runs of other trainers" in capsys.readouterr().err


def test_a_run_of_another_trainer_is_drawn_beside_ours(tmp_path, capsys):
    ours = tmp_path / "ours"
    ours.mkdir()
    write_ours(ours, make_records())
    wrong = replace(SOUND, threshold=5.0, nan=True)
    theirs = write_edgeflownas(tmp_path / "theirs", wrong)
    out, result = tmp_path / "r.html", tmp_path / "r.json"
    words = ["report", str(ours), str(theirs), "--out", str(out), "--json", str(result)]
    assert main([*words, "--zero-flow", "7.5"]) == 0
    said = capsys.readouterr().out
    assert "theirs is a run of EdgeFlowNAS: no record tells which batches it scored" in said
    assert "warning: theirs: clip-not-saturated: clip rate 1.0000" in said
    shown = json.loads(result.read_text())["runs"][1]
    assert [row["epoch"] for row in shown["epochs"]] == [1, 2, 3, 4, 5]
    assert shown["epochs"][1]["threshold"] == 5.0
    assert shown["epochs"][1]["kendall_tau_prev"] is not None
    page = out.read_text()
    assert page.count('class="plot curves"') == 7
    assert ">theirs<" in page


@pytest.mark.parametrize(
    ("made", "rung"),
    [
        (replace(EARLY, threshold=5.0), "train.grad_clip_global_norm = 20"),
        (replace(SOUND, threshold=20.0), "train.grad_clip_global_norm = 50"),
        (replace(SOUND, threshold=5.0, norm=10.0), "train.grad_clip_global_norm = 12."),
        (SOUND, "keep it"),
    ],
)
def test_a_study_names_the_next_rung_of_a_run_that_is_there(tmp_path, capsys, made, rung):
    folder = write_edgeflownas(tmp_path / "a", made)
    assert main(["clip-study", "--advise", str(folder)]) == 0
    assert rung in capsys.readouterr().out


def test_a_study_names_the_next_rung_of_a_run_of_ours(tmp_path, capsys):
    write_ours(tmp_path, make_records())
    assert main(["clip-study", "--advise", str(tmp_path)]) == 0
    assert "52.1% of the checks were clipped at 50" in capsys.readouterr().out
    assert main(["clip-study", "--advise", str(tmp_path), "--epochs", "2"]) == 2
    assert "--epochs: --advise trains nothing" in capsys.readouterr().err
    table = tmp_path / "x.csv"
    table.write_text("round,g\n1,30\n2,40\n")
    named = ["--column", "epoch=round", "--column", "norm=g"]
    threshold = ["--set", "train.grad_clip_global_norm=5"]
    assert main(["clip-study", "--advise", str(table), *named, *threshold]) == 0
    assert "train.grad_clip_global_norm = 20" in capsys.readouterr().out
    assert main(["clip-study"]) == 2
    assert "required: --config, --run, --epochs, or --advise RUN" in capsys.readouterr().err
