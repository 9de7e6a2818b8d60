"""The gate in somebody else's repository: the wheel alone, an empty folder, no TensorFlow."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.promises.registry import of_tier

ROOT = Path(__file__).parents[1]
NUMPY = ROOT / "tests" / "numpy_trainer"

DUE = len(of_tier("quick"))
GREEN = f"GATE GREEN: 37 promises hold, {DUE - 37} not applicable"
THREE_LINES = """from harness.testing import each_promise

test_my_trainer = each_promise("adapter.py:NumpySystem")
"""


def run(*command, cwd, ok=(0,), **variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env={**environment, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in ok, done.stdout + done.stderr
    return done


def needed(name):
    """Return the package and all that it asks for without an extra, by their canonical names."""
    found, open_names = set(), {canonicalize_name(name)}
    while open_names:
        one = open_names.pop()
        found.add(one)
        asked = (Requirement(line) for line in distribution(one).requires or ())
        due = (a for a in asked if a.marker is None or a.marker.evaluate({"extra": ""}))
        open_names |= {canonicalize_name(a.name) for a in due} - found
    return found


def hashed_lines(names):
    """Return the pins of these packages with their hashes; the project itself has none."""
    text = (ROOT / "constraints-hashed.txt").read_text(encoding="utf-8")
    pins = {canonicalize_name(entry.split("==")[0]): entry for entry in re.split(r"\n(?=\S)", text)}
    return "\n".join(pins[name] for name in sorted(names - {"samebits"})) + "\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the scripts of a new environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("elsewhere")
    source = folder / "source"
    ignored = shutil.ignore_patterns("build", "*.egg-info", ".git", ".*", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    pip = (sys.executable, "-m", "pip", "-q")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    (wheel,) = folder.glob("samebits-*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    scripts = folder / "venv" / "bin"
    install = (scripts / "pip", "install", "-q", "--no-deps")
    hashed = folder / "hashed.txt"
    hashed.write_text(hashed_lines(needed("samebits") | needed("pytest-xdist")))
    run(*install, "--require-hashes", "-r", hashed, cwd=folder, PIP_NO_INDEX="0")
    run(*install, wheel, cwd=folder)
    run(scripts / "pip", "check", cwd=folder)
    return scripts


@pytest.fixture
def repository(tmp_path):
    """Return a folder that holds the NumPy example and nothing else."""
    for name in ("adapter.py", "trainer.py"):
        shutil.copy(NUMPY / name, tmp_path)
    return tmp_path


@pytest.mark.slow
def test_without_tensorflow_the_command_gates_a_trainer(installed, repository):
    absent = run(installed / "python", "-c", "import tensorflow", cwd=repository, ok=(1,))
    assert "No module named 'tensorflow'" in absent.stderr
    gate = (installed / "harness", "gate", "--system", "adapter.py:NumpySystem")
    done = run(*gate, "--gate-file", "gate.json", "--", "-q", "--junitxml=j.xml", cwd=repository)
    assert done.stdout.rstrip().endswith(GREEN)
    assert "warning" not in done.stdout.lower()
    cases = ElementTree.parse(repository / "j.xml").iter("testcase")
    told = {
        case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in cases
    }
    assert told["test_promise[metric-oracle]"]["verdict"] == "holds"
    assert "known answers" in told["test_promise[metric-oracle]"]["figures"]
    demanded = run(
        installed / "harness", "require-gate", "gate.json", "--system", "adapter.py:NumpySystem",
        "--code", ".", cwd=repository,
    )  # fmt: skip
    assert demanded.stdout.startswith("gated: green, ")
    (repository / "trainer.py").write_text("# another\n" + (NUMPY / "trainer.py").read_text())
    refused = run(
        installed / "harness", "require-gate", "gate.json", "--code", ".", cwd=repository, ok=(2,)
    )
    assert "code: gated 'files " in refused.stderr


@pytest.mark.slow
def test_an_adapter_is_begun_and_checked_there(installed, tmp_path):
    said = run(installed / "harness", "init-adapter", "mine.py", cwd=tmp_path).stdout
    assert "harness check-adapter mine.py:MyTrainer" in said
    done = run(installed / "harness", "check-adapter", "mine.py:MyTrainer", cwd=tmp_path)
    assert "nothing is wrong, 0 notes; next:" in done.stdout
    again = done.stdout.rstrip().splitlines()[-1].split()
    assert again[:2] == ["harness", "gate"]
    gated = run(installed / "harness", *again[1:], cwd=tmp_path)
    assert "GATE GREEN: " in gated.stdout


@pytest.mark.slow
def test_three_lines_give_each_promise_a_test_that_pytest_selects(installed, repository):
    (repository / "test_gate.py").write_text(THREE_LINES)
    listed = run(installed / "pytest", "--collect-only", "-q", cwd=repository).stdout
    assert "test_gate.py::test_my_trainer[metric-oracle]" in listed.splitlines()
    some = run(installed / "pytest", "-k", "metric-oracle or eval-pure", cwd=repository).stdout
    assert f"GATE INCOMPLETE: 2 promises hold, {DUE - 2} not run" in some
    marked = run(installed / "pytest", "-m", "samebits_smoke", "--co", "-q", cwd=repository).stdout
    assert "[eval-pure]" in marked
    assert "[ledger-tau]" not in marked
    both = run(installed / "pytest", "-q", "-n", "2", cwd=repository).stdout
    assert both.rstrip().endswith(GREEN)


@pytest.mark.slow
def test_a_broken_promise_ends_with_its_name_and_the_command_that_asks_again(installed, repository):
    (repository / "broken.py").write_text(
        "from adapter import NumpySystem\n\n\n"
        "class Broken(NumpySystem):\n"
        "    def score(self, *arrays):\n"
        "        return 0.5 * super().score(*arrays)\n"
    )
    gate = (installed / "harness", "gate", "--system", "broken.py:Broken")
    done = run(*gate, "--promise", "metric-oracle", "eval-pure", cwd=repository, ok=(1,))
    *_, root, _, drawn, again, verdict = done.stdout.rstrip().splitlines()
    assert root.startswith("1. metric-oracle: ")
    assert drawn.startswith("--pictures DIR draws what broke")
    asked = "again: harness gate --system=broken.py:Broken --promise metric-oracle"
    assert again == asked
    assert verdict == "GATE RED: 1 of 2 required promises hold, 1 broken"


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--system", "nope.py:X"), "expected a file nope.py, found none of that name"),
        (("--fc2-root", "nowhere"), "--fc2-root nowhere: expected a folder train/ in it"),
        (("--fc2-root", "empty"), "no sample found, expected files named like 0000000-img_0.png"),
        (("--fc2-root", "without-flow"), "1 missing member in 1 sample: 0000000-flow_01.flo"),
        (("--config", "run.yaml"), "run.yaml: gate.required nope: no promise of that name"),
        (("--gate-file", "no/where.json"), "there is no folder no; make it first"),
        (("--promise", "nope"), "--promise nope: no promise of that name"),
        (("--tier", "nope"), "--tier: expected one of smoke, quick, full, nightly, got 'nope'"),
        ((), "TensorFlow is not installed, which the builtin trainer alone needs"),
    ],
)
def test_a_mistake_is_told_before_any_work(installed, repository, words, told):
    for split in ("empty/train", "empty/val", "without-flow/train", "without-flow/val"):
        (repository / split).mkdir(parents=True)
    for member in ("img_0.png", "img_1.png"):
        (repository / "without-flow" / "train" / f"0000000-{member}").write_bytes(b"")
    (repository / "run.yaml").write_text("gate: {required: [nope]}")
    done = run(installed / "harness", "gate", *words, cwd=repository, ok=(2,))
    text = done.stdout + done.stderr
    assert told in text
    assert "Traceback" not in text
    assert len(text.splitlines()) < 24


@pytest.mark.slow
def test_an_unrelated_test_suite_imports_neither_numpy_nor_the_promises(installed, tmp_path):
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n\ndef test_other():\n"
        "    assert not {'numpy', 'cv2', 'harness.promises.registry'} & set(sys.modules)\n"
    )
    done = run(installed / "pytest", "-q", cwd=tmp_path)
    assert done.stdout.startswith(".")
    shown = run(installed / "pytest", "--help", cwd=tmp_path).stdout
    group = shown[shown.index("samebits: invariants") :].split("\n\n")[0]
    assert "--samebits-system" in group
    assert all("--samebits-" in line for line in group.splitlines() if line.strip()[:2] == "--")


@pytest.mark.nightly
def test_the_gate_file_says_what_was_gated_where_and_when(installed, repository):
    gate = (installed / "harness", "gate", "--system", "adapter.py:NumpySystem")
    run(*gate, "--promise", "eval-pure", "--gate-file", "gate.json", cwd=repository)
    found = json.loads((repository / "gate.json").read_text())
    assert found["format"] == 2
    assert found["required"] == ["eval-pure"]
    assert set(found["digests"]) == {"declarations", "code"}
    assert found["where"]
    assert found["when"].endswith("+00:00")
