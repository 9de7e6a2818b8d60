import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.environment import apply_environment
from harness.errors import NotApplicableError
from harness.fc2.synthetic import write_dataset
from harness.promises.adapter_check import check_adapter
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.openings import applying, offered
from harness.promises.plans import changed_plan
from harness.promises.registry import PROMISES
from harness.promises.second_process import FROM_CHECKPOINTS
from harness.promises.setting import embedded_config, matrix_config
from harness.promises.training import moves
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent / "numpy_trainer"
QUICK = [name for name, promise in PROMISES.items() if promise.in_quick]
SCORES = {"again", "fresh", "permuted", "subset", "prefix"}
AT_ONCE = "ResumeRestartsGenerator"
"""The others are judged in the slow tier."""

FAULTS = {
    "RandomEvalCrops": {
        *(f"same-scores-{how}" for how in SCORES),
        "same-run-elsewhere", "metric-recomputed", "unknown-flow-unscored",
        "metric-alive",  # a response cannot be told from noise
    },
    "EvalMovesTheStream": {"eval-pure", "train-unobserved"},
    "DeadMetric": {"metric-alive", "metric-recomputed", "unknown-flow-unscored"},
    "CentredOverBatch": {"batch-mates-unseen"},
    # Training without evaluation starts from a restored checkpoint.
    "ResumeRestartsGenerator": {
        "resume-exact", "resume-mid-epoch", "resume-before-evaluation", "checkpoint-complete",
        "train-unobserved",
    },
    "ResumesUnderAnyPlan": {"changed-plan-told"},
}  # fmt: skip


PLAN = ("train.lr", "train.batch_size", "data.input_height, data.input_width")
"""What the trainer's own checkpoints hold of its plan."""


def gate(name, folder, *options):
    """Run the gate in a process of its own; return exit code, output and gate file."""
    file = folder / "gate.json"
    command = [
        sys.executable, "-m", "pytest", "invariants", "-p", "no:cacheprovider",
        "--system", f"{HERE / name}", "--gate-file", str(file), *options,
    ]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert file.exists(), found.stdout + found.stderr
    return found.returncode, found.stdout, json.loads(file.read_text())


def by_verdict(file, verdict):
    return {name for name, r in file["relations"].items() if r["verdict"] == verdict}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return gate("adapter.py:NumpySystem", tmp_path_factory.mktemp("numpy"))


@pytest.mark.slow
def test_a_gate_in_which_nothing_applies_is_not_green(tmp_path):
    (tmp_path / "nothing.py").write_text(
        "class Nothing:\n"
        "    def describe(self):\n"
        "        return {'name': 'n', 'can': ['describe']}\n"
    )
    (tmp_path / "gate.json").write_text('{"verdict": "green", "relations": {}}')
    code, text, file = gate(tmp_path / "nothing.py:Nothing", tmp_path, "-k", "same-scores")
    assert code == 1
    assert "GATE EMPTY: nothing was found to hold" in text
    assert file["verdict"] == "empty"


def test_a_numpy_trainer_passes_the_gate(healthy):
    code, text, file = healthy
    assert code == 0, text
    assert file["verdict"] == "green"
    held = by_verdict(file, "holds")
    assert set().union(*FAULTS.values()) <= held
    assert {"bad-files-named", "checkpoint-verified", "nan-stops", "metric-oracle"} <= held


def test_what_it_cannot_show_is_named(healthy):
    _, _, file = healthy
    reasons = {n: r["text"] for n, r in file["relations"].items() if r["verdict"] == "n/a"}
    assert by_verdict(file, "holds") | set(reasons) == set(QUICK)
    assert reasons["fair-archs"].endswith("no arch codes of options, but full, half")
    assert reasons["recal-effective"] == "the system does not offer recalibrate"
    assert reasons["ledger-tau"] == "the system keeps no ledger (Training.records)"
    assert reasons["checkpoint-of-one-save"].startswith("a checkpoint is one file")
    assert all(reason and "numpy" not in reason.lower() for reason in reasons.values())


def test_what_applies_is_known_before_any_promise_is_asked(healthy, tmp_path):
    """By what each promise says that it needs, and by each call made once."""
    write_dataset(tmp_path / "frames", train=8, val=7, height=29, width=43)
    workers, spec = Workers(), SystemSpec(f"{HERE / 'adapter.py'}:NumpySystem")
    seen = check_adapter(spec, workers, matrix_config(tmp_path / "frames"), tmp_path)
    workers.close()
    found = set(applying(offered(seen.about, seen.training, seen.evaluation)))
    # Of how many files a checkpoint is, no declaration says.
    assert found == by_verdict(healthy[2], "holds") | {"checkpoint-of-one-save"}


def test_the_gate_says_what_the_system_runs_on(healthy):
    _, text, file = healthy
    about = file["system_environment"]
    assert about["python"] == ".".join(map(str, sys.version_info[:3]))
    assert f"system under test: python {about['python']}, numpy " in text


def test_the_gate_says_what_was_gated(healthy):
    _, text, file = healthy
    assert file["gated"]["name"] == "numpy"
    assert file["gated"]["declaration"]["can"] == sorted(file["gated"]["declaration"]["can"])
    # In a clone it has a commit; in an installed copy the reason is said.
    code = file["gated"]["code"]
    assert re.fullmatch("[0-9a-f]{40}", code["commit"]) or code["reason"]
    assert file["system"] == "adapter.py:NumpySystem"
    assert str(ROOT) not in json.dumps(file["gated"])
    assert (code["commit"][:12] or code["reason"]) in text


BROKEN_AND_KNOWN = (
    "samebits_known_defects=metric-alive: the metric is stubbed\n metric-oracle: fed by hand"
)


@pytest.mark.slow
def test_a_known_defect_is_accepted_until_it_is_mended(tmp_path):
    options = ("-k", "metric-alive or metric-oracle or metric-recomputed", "-o", BROKEN_AND_KNOWN)
    code, text, file = gate("broken.py:DeadMetric", tmp_path, *options)
    assert code == 1
    assert file["known_defects"] == {"metric-alive": "the metric is stubbed"}
    assert [root["id"] for root in file["roots"]] == ["metric-recomputed"]
    *_, complaint, root, _, drawn, again, last = text.strip().splitlines()
    assert complaint.startswith("known defect metric-oracle: it holds now; take it off the list")
    assert root.startswith("1. metric-recomputed: ")
    assert drawn.startswith("--pictures DIR draws what broke")
    assert last.startswith("GATE RED: 1 promise holds, 1 broken, 1 not applicable, 1 known")
    # Each stands once, and in the command that asks again: no traceback, no list of failures.
    assert again.endswith(" --samebits-promise=metric-recomputed")
    assert text.count("metric-recomputed") == 2 + again.count("-k 'metric-alive")
    assert "FAILURES" not in text


@pytest.mark.slow
def test_a_reason_of_blanks_excuses_nothing(tmp_path):
    code, text, file = gate("broken.py:ExcusedWithBlanks", tmp_path, "-k", "metric-alive")
    assert (code, file["verdict"], file["known_defects"]) == (1, "red", {})
    assert "known defect metric-alive: no reason" in text


@pytest.mark.slow
def test_another_test_that_failed_is_seen_without_a_terminal(tmp_path):
    (tmp_path / "test_other.py").write_text("def test_other():\n    assert False\n")
    options = ("-p", "no:terminal", "-o", "addopts=", "-k", "test_other or metric-oracle")
    code, _, file = gate("adapter.py:NumpySystem", tmp_path, str(tmp_path), *options)
    assert (code, file["verdict"]) == (1, "red")


def test_a_gate_that_judged_nothing_is_no_success(tmp_path):
    file = tmp_path / "gate.json"
    file.write_text('{"relations": {}}')  # an old verdict
    command = [
        sys.executable, "-m", "pytest", "invariants", "-p", "no:cacheprovider", "--gate-file",
        str(file), "-k", "resume-anywhere", "--tier", "quick",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not file.exists()


def broken_promises(name, frames, folder):
    """Check every quick promise on a system in its worker; return those that broke."""
    spec, workers = SystemSpec(f"{HERE / name}"), Workers()
    config = embedded_config(frames)
    apply_environment(config)  # as the gate does, before anything computes
    tree = config.model_dump(mode="json", by_alias=True)
    bench = Bench(system_factory(spec, workers), spec, tree, folder, FROM_CHECKPOINTS)
    found = [judge(PROMISES[name], bench) for name in QUICK]
    bench.close()
    workers.close()
    assert not [judgement for judgement in found if judgement.verdict == "error"]
    return {judgement.promise.id for judgement in found if judgement.verdict == "BROKEN"}


@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != AT_ONCE)) for name in FAULTS],
)
def test_a_fault_breaks_exactly_its_promises(fault, embedded_frames, tmp_path):
    assert broken_promises(f"broken.py:{fault}", embedded_frames, tmp_path) == FAULTS[fault]


@pytest.mark.parametrize(
    ("name", "untold"),
    [
        ("adapter.py:NumpySystem", []),
        ("broken.py:SaysSoAndGoesOn", []),
        ("broken.py:OneSizeAlone", []),
        ("broken.py:SaysTheSameAlways", [*PLAN]),
        ("broken.py:ResumesUnderAnyPlan", [*PLAN]),
    ],
)
def test_another_plan_is_refused_or_told(name, untold, embedded_frames, tmp_path):
    """Its rate is constant and it clips nothing: of epochs and clip there is nothing to tell."""
    spec, workers = SystemSpec(f"{HERE / name}"), Workers()
    config = embedded_config(embedded_frames)
    apply_environment(config)
    tree = config.model_dump(mode="json", by_alias=True)
    bench = Bench(system_factory(spec, workers), spec, tree, tmp_path)
    keys = bench.evidence(changed_plan).keys
    bench.close()
    workers.close()
    assert [key.key for key in keys if not key.told] == untold
    # A crop that does not open has no restore that could be silent.
    assert {key.key for key in keys} == set(PLAN[: 2 if "OneSize" in name else 3])
    went_on = "it went on and said nothing"
    rates = ", at learning rate 0.0015 where the saved run goes on at 0.001"
    assert [key.found for key in keys if not key.told] == [
        went_on + rates * (key == "train.lr") for key in untold
    ]


@pytest.mark.parametrize(
    ("name", "verdict", "text"),
    [
        ("adapter.py:NumpySystem", "n/a", "a checkpoint is one file: it cannot be of two saves"),
        (
            "broken.py:WritesALog", "n/a",
            "each file of a checkpoint holds the whole state or none of it",
        ),
        (
            "broken.py:StepsInAnotherFile", "BROKEN",
            "a checkpoint after epoch 2 with log.txt as it was saved after epoch 1: expected an "
            "error that names of-two-saves-0, found it went on",
        ),
    ],
)  # fmt: skip
def test_a_checkpoint_of_two_saves_is_one_of_which_both_files_are_read(
    name, verdict, text, embedded_frames, tmp_path
):
    spec, workers = SystemSpec(f"{HERE / name}"), Workers()
    config = embedded_config(embedded_frames)
    apply_environment(config)
    tree = config.model_dump(mode="json", by_alias=True)
    bench = Bench(system_factory(spec, workers), spec, tree, tmp_path)
    found = judge(PROMISES["checkpoint-of-one-save"], bench)
    bench.close()
    workers.close()
    assert (found.verdict, found.text) == (verdict, text)


@pytest.mark.nightly
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_turns_the_gate_red(fault, tmp_path):
    code, text, file = gate(f"broken.py:{fault}", tmp_path)
    assert code == 1
    assert by_verdict(file, "BROKEN") == FAULTS[fault]
    assert by_verdict(file, "error") == set()
    assert re.search(r"GATE RED: \d+ promises hold, \d+ broken, \d+ not applicable", text)


@pytest.mark.nightly
def test_a_killed_or_cut_run_of_it_resumes(tmp_path):
    code, text, file = gate("adapter.py:NumpySystem", tmp_path, "--tier", "full")
    assert code == 0, text
    assert {"resume-anywhere", "resume-after-kill"} <= by_verdict(file, "holds")
    assert {"knobs-alive", "same-scores-bilinear"} <= by_verdict(file, "n/a")


def test_the_adapter_is_short_and_neither_file_knows_the_harness():
    assert len((HERE / "adapter.py").read_text().splitlines()) <= 100
    for name in ("adapter.py", "trainer.py"):
        tree = ast.parse((HERE / name).read_text(), feature_version=(3, 7))
        modules = {n.name for s in ast.walk(tree) if isinstance(s, ast.Import) for n in s.names}
        modules |= {s.module for s in ast.walk(tree) if isinstance(s, ast.ImportFrom)}
        assert modules <= {"hashlib", "json", "numpy", "os", "trainer", "zlib"}


@pytest.mark.parametrize("name", ["Needy", "Nobody"])
@pytest.mark.slow
def test_a_system_that_cannot_be_made_is_one_error(name, tmp_path):
    command = [
        sys.executable, "-m", "pytest", "invariants", "-q",
        "--system", f"{HERE.parent / 'odd_system.py'}:{name}",
    ]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == pytest.ExitCode.USAGE_ERROR
    assert not {"passed", "failed", "GATE"} & set(found.stdout.split())
    assert found.stdout.count("Exit: ") == 1
    assert {"Needy": "a_package_that_is_not_there", "Nobody": "no class 'Nobody'"}[
        name
    ] in found.stdout


STAGES = ("describe", "open", "evaluate", "state")


def test_four_calls_open_the_first_promises(embedded_frames, tmp_path):
    (tmp_path / "few.py").write_text(
        f"import sys\nsys.path.insert(0, {str(HERE)!r})\nfrom adapter import NumpySystem\n"
        "class Few(NumpySystem):\n"
        "    train = save = restore = batches = predict = score = close = None\n"
        "    def describe(self):\n"
        f"        return dict(super().describe(), can={STAGES!r})\n"
    )
    spec, workers = SystemSpec(f"{tmp_path / 'few.py'}:Few"), Workers()
    config = embedded_config(embedded_frames)
    apply_environment(config)
    tree = config.model_dump(mode="json", by_alias=True)
    bench = Bench(system_factory(spec, workers), spec, tree, tmp_path)
    for promise in (
        "same-scores-again",
        "same-scores-permuted",
        "metric-alive",
        "nan-score-stops",
    ):
        assert set(PROMISES[promise].calls) <= set(STAGES)
        found = judge(PROMISES[promise], bench)
        assert (found.verdict, found.violations) == ("holds", ())
    with pytest.raises(NotApplicableError, match="does not offer train, save, restore"):
        bench.evidence(moves)
    bench.close()
    workers.close()


@pytest.mark.parametrize("first", sorted({driver.__name__ for driver in FROM_CHECKPOINTS}))
def test_what_a_second_process_begins_early_is_made_once_whoever_asks_first(
    first, embedded_frames, tmp_path
):
    made = []
    (driver,) = (d for d in FROM_CHECKPOINTS if d.__name__ == first)

    def counted(bench):
        made.append(first)
        return driver(bench)

    spec, workers = SystemSpec(f"{HERE / 'adapter.py:NumpySystem'}"), Workers()
    config = embedded_config(embedded_frames)
    apply_environment(config)
    tree = config.model_dump(mode="json", by_alias=True)
    bench = Bench(system_factory(spec, workers), spec, tree, tmp_path, (counted,))
    bench.evidence(counted)
    bench.close()
    workers.close()
    assert made == [first]
