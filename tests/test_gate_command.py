"""``harness gate`` and three lines in a test file: verdicts, exit codes and what is vouched for."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ONE = ("--promise", "same-scores-again")
BROKEN = """from adapter import NumpySystem


class Broken(NumpySystem):
    def score(self, *arrays):
        return 0.5 * super().score(*arrays)
"""
EDITOR = """from pathlib import Path


def pytest_runtest_teardown(item):
    file = Path("trainer.py")
    file.write_text(file.read_text() + "# saved meanwhile\\n")
"""


@pytest.fixture
def repository(tmp_path):
    for name in ("adapter.py", "trainer.py"):
        shutil.copy(ROOT / "tests" / "numpy_trainer" / name, tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN)
    return tmp_path


def run(folder, *words, module="harness"):
    # Not what the session around this one was called with.
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "GITHUB"))}
    done = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=folder, capture_output=True, text=True,
        check=False, env={**variables, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def gate(folder, *words, system="adapter.py:NumpySystem"):
    return run(folder, "gate", "--system", system, *words)


@pytest.mark.slow
def test_a_subset_can_be_green_and_vouches_for_itself_alone(repository):
    code, text = gate(repository, *ONE, "--gate-file", "g.json")
    assert code == 0, text
    assert text.rstrip().endswith("GATE GREEN: 1 of 1 required promises hold")
    code, text = run(repository, "require-gate", "g.json", "--code", ".")
    assert code == 2
    assert "it is about 1 promise that it was asked for by name (same-scores-again)" in text
    assert run(repository, "require-gate", "g.json", "--code", ".", *ONE)[0] == 0
    (repository / "trainer.py").write_text("# another\n")
    code, text = run(repository, "require-gate", "g.json", "--code", ".", *ONE)
    assert code == 2
    assert "code: gated 'files " in text


@pytest.mark.slow
@pytest.mark.parametrize("how", ["yaml", "ini"])
def test_a_configuration_and_an_ini_file_name_a_subset(repository, how):
    words = ("--config", "run.yaml", "--fc2-root", "fc2") if how == "yaml" else ()
    if how == "yaml":
        assert run(repository, "synth", "fc2", "--train", "3", "--val", "2")[0] == 0
        (repository / "run.yaml").write_text(
            "gate: {required: [same-scores-again]}\n"
            "data: {input_height: 32, input_width: 64}\ntrain: {batch_size: 2}\n"
        )
    else:
        (repository / "pytest.ini").write_text("[pytest]\nsamebits_required = same-scores-again\n")
    code, text = gate(repository, *words)
    assert "GATE GREEN: 1 of 1 required promises hold" in text, text
    assert code == 0


def test_a_part_of_the_due_promises_is_no_success(repository):
    code, text = gate(repository, "--tier", "smoke", "--", "-k", "same-scores-again")
    assert "GATE INCOMPLETE: 1 promise holds" in text
    assert code == 1


@pytest.mark.slow
def test_promises_that_were_to_run_and_did_not_are_no_success(repository):
    (repository / "skipper.py").write_text(
        "import pytest\n\n\ndef pytest_collection_modifyitems(items):\n"
        "    for item in items:\n        item.add_marker(pytest.mark.skip)\n"
    )
    code, text = gate(repository, *ONE, "--", "-p", "skipper")
    assert "GATE EMPTY: nothing was found to hold" in text
    assert code == 1


@pytest.mark.slow
def test_code_that_changes_while_the_gate_runs_is_not_vouched_for(repository):
    (repository / "editor.py").write_text(EDITOR)
    code, text = gate(repository, *ONE, "--", "-p", "editor")
    assert "code changed while the gate ran: gate again" in text
    assert text.rstrip().endswith("GATE RED: 1 of 1 required promises hold")
    assert code == 1


@pytest.mark.slow
def test_a_file_of_settings_is_named_where_there_is_one(tmp_path):
    words = ("gate", "--tier", "none")
    code, text = run(tmp_path, *words)
    assert (code, "rootdir: " in text, "configfile" in text) == (2, True, False)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    code, text = run(tmp_path, *words)
    assert (code, "configfile: pytest.ini\n" in text) == (2, True)


def test_a_file_that_is_no_gate_file_is_not_replaced(repository):
    code, text = gate(repository, *ONE, "--gate-file", "trainer.py")
    assert code == 2
    assert "--gate-file trainer.py: holds something else, which would be lost" in text
    assert (repository / "trainer.py").exists()


@pytest.mark.slow
def test_two_gates_of_a_session_have_a_verdict_each_and_a_line_that_asks_again(repository):
    (repository / "test_gates.py").write_text(
        "from harness.testing import each_promise\n\n"
        "test_one = each_promise('adapter.py:NumpySystem', promises=['metric-oracle'])\n"
        "test_two = each_promise('broken.py:Broken', promises=['metric-oracle'])\n"
    )
    words = ("-q", "-p", "harness.pytest_stub", "-p", "no:cacheprovider")
    code, text = run(repository, *words, module="pytest")
    assert code == 1
    *_, green, red = text.rstrip().splitlines()
    assert "samebits 0.1.0: system" not in text
    assert green.startswith("GATE GREEN: 1 of 1 required promises hold [adapter.py:NumpySystem")
    assert red.startswith("GATE RED: 0 of 1 required promises hold, 1 broken [broken.py:Broken")
    text = run(repository, *words[1:], module="pytest")[1]
    assert "again: pytest -p harness.pytest_stub -p no:cacheprovider --samebits-promise=" in text


@pytest.mark.slow
def test_an_adapter_beside_the_test_file_is_found_from_elsewhere(repository):
    (repository / "test_gate.py").write_text(
        "from harness.testing import each_promise\n\n"
        "test_one = each_promise('adapter.py:NumpySystem', promises=['metric-oracle'])\n"
    )
    words = ("-q", "-p", "harness.pytest_stub", "-p", "no:cacheprovider", repository.name)
    code, text = run(repository.parent, *words, module="pytest")
    assert "GATE GREEN: 1 of 1 required promises hold" in text, text
    assert code == 0


@pytest.mark.slow
def test_a_misspelt_name_is_told_with_the_nearest_and_the_option_that_exists(repository):
    code, text = gate(repository, "--promise", "metric-orakle")
    assert code == 2
    assert "--promise metric-orakle: no promise of that name, did you mean metric-oracle?" in text
    (repository / "test_gate.py").write_text(
        "from harness.testing import each_promise\n\ntest_one = each_promise('adapter.py:X')\n"
    )
    words = ("-q", "-p", "harness.pytest_stub", "--samebits-tier", "sometimes")
    assert "--samebits-tier: expected one of" in run(repository, *words, module="pytest")[1]


def test_a_misspelt_array_in_a_description_switches_nothing_off(repository):
    (repository / "odd.py").write_text(
        "from adapter import NumpySystem\n\n\n"
        "class Odd(NumpySystem):\n"
        "    def describe(self):\n"
        "        return {**super().describe(), 'heads': {'flow': ['kernell']}}\n"
    )
    code, text = gate(repository, "--promise", "metric-alive", system="odd.py:Odd")
    assert "state() has no kernell, which describe().heads names" in text
    assert "GATE RED: 0 of 1 required promises hold, 1 could not be checked" in text
    assert code == 1


@pytest.mark.slow
def test_the_gate_file_of_a_session_says_what_was_due(repository):
    gate(repository, "--tier", "smoke", "--gate-file", "g.json", "--", "-k", "metric-oracle")
    found = json.loads((repository / "g.json").read_text())
    assert (found["verdict"], list(found["relations"])) == ("incomplete", ["metric-oracle"])
    assert {"metric-oracle", "same-scores-again"} < set(found["due"])


TORCH_FAULTY = """import numpy as np
from adapter import Torch


class Faulty(Torch):
    def read(self, sample):
        image1, *rest = super().read(sample)
        return (np.roll(np.asarray(image1), 1, -1), *rest)
"""


@pytest.mark.nightly
def test_a_crop_of_a_pytorch_trainer_is_drawn_too(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")
    for name in ("adapter.py", "trainer.py"):
        shutil.copy(ROOT / "tests" / "torch_trainer" / name, tmp_path)
    (tmp_path / "faulty.py").write_text(TORCH_FAULTY)
    words = ("--promise", "eval-crop-centred", "--pictures", "shown")
    code, text = gate(tmp_path, *words, system="faulty.py:Faulty")
    assert (code, "   drawn: shown/eval-crop-centred.html\n" in text) == (1, True), text
    page = (tmp_path / "shown" / "eval-crop-centred.html").read_text()
    assert page.count("<img alt=") >= 3


FAULTY = """from adapter import NumpySystem


class Faulty(NumpySystem):
    def served(self, folder, draws):
        batch = super().served(folder, draws)
        if folder is self.trainer.val:  # one column beside the pixels of the window that it tells
            frames = batch["frames"].copy()
            frames[:, :, 1:] = frames[:, :, :-1]
            batch["frames"] = frames
        return batch

    def score(self, *arrays):
        return 0.5 * super().score(*arrays)
"""


@pytest.mark.parametrize(
    "how",
    [pytest.param("", marks=pytest.mark.slow), pytest.param("-n2", marks=pytest.mark.nightly)],
)
def test_pages_of_what_a_foreign_system_broke_are_written_and_named(repository, how):
    if how:
        pytest.importorskip("xdist")
    (repository / "faulty.py").write_text(FAULTY)
    names = ("eval-crop-centred", "metric-oracle", "eval-pure")
    words = ("--promise", *names, "--gate-file", "g.json", *(["--", how] if how else []))
    code, text = gate(repository, *words, system="faulty.py:Faulty")
    assert code == 1
    assert "--pictures DIR draws what broke, expected beside found" in text, text
    assert not (repository / "shown").exists()
    plain = (repository / "g.json").stat().st_size
    code, text = gate(repository, "--pictures", "shown", *words, system="faulty.py:Faulty")
    assert code == 1
    assert "--pictures DIR" not in text
    for name in names[:2]:
        assert f"   drawn: shown/{name}.html\n" in text, text
        assert f"<h1>{name} is broken</h1>" in (repository / "shown" / f"{name}.html").read_text()
    assert len(list((repository / "shown").iterdir())) == 2
    assert (repository / "g.json").stat().st_size < plain + 100
    code, text = gate(repository, "--pictures", "shown", *words)
    assert code == 0, text
    assert list((repository / "shown").iterdir()) == []
