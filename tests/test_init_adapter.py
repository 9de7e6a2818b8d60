"""What init-adapter writes runs as it stands: nothing is wrong with it, and its gate is green."""

import json
import os
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.cli import main
from harness.commands.init_adapter import KINDS, template

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your-trainer.md").read_text(encoding="utf-8")
NEEDS = {
    "numpy": ("PIL",), "tensorflow": ("keras",), "torch": ("torch",),
    "lightning": ("torch", "lightning"),
}  # fmt: skip
"""What a template imports; its tests skip by name where that is absent."""


def needed(kind):
    for name in NEEDS[kind]:
        if find_spec(name) is None:
            pytest.skip(f"{kind} needs {name}, which is not installed")


def written(kind, folder):
    """Write a template and return its path."""
    path = folder / "mine.py"
    assert main(["init-adapter", f"--{kind}", str(path)]) == 0
    return path


def gate(path, folder, *options):
    """Run the gate on a template; return exit code, output and verdicts."""
    file = folder / "gate.json"
    words = ["gate", "--system", f"{path}:MyTrainer", "--gate-file", str(file), *options]
    place = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words], cwd=folder, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": place},
    )  # fmt: skip
    found = json.loads(file.read_text())["relations"] if file.exists() else {}
    return done.returncode, done.stdout, {name: one["verdict"] for name, one in found.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_commented_and_names_its_own_file(kind, tmp_path, capsys):
    path = written(kind, tmp_path)
    text = path.read_text()
    assert "mine.py:MyTrainer" in text
    assert "adapter.py" not in text
    compile(text, str(path), "exec")
    comments = sum(line.lstrip().startswith("#") for line in text.splitlines())
    assert comments >= 10
    assert f"check-adapter {path}:MyTrainer" in capsys.readouterr().out


def test_what_is_there_is_kept(tmp_path, capsys):
    path = written("numpy", tmp_path)
    assert main(["init-adapter", str(path)]) == 0  # the very same may be asked for again
    path.write_text("mine = 1\n")
    assert main(["init-adapter", str(path)]) == 2
    assert path.read_text() == "mine = 1\n"
    assert "never overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k != "numpy")) for k in KINDS]
)
def test_nothing_is_wrong_with_a_template(kind, tmp_path, capsys):
    needed(kind)
    path = written(kind, tmp_path)
    code = main(["check-adapter", f"{path}:MyTrainer"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "nothing is wrong, 0 notes; next:" in said
    if kind == "numpy":  # of which docs/your-trainer.md shows a part
        shown = re.search(r"^    \d+ of \d+ promises.*?with:\n", PAGE, re.DOTALL | re.MULTILINE)
        assert shown is not None
        assert textwrap.dedent(shown[0]) in said


LONG = {"numpy": pytest.mark.slow, "torch": pytest.mark.slow}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=LONG.get(k, pytest.mark.nightly)) for k in KINDS]
)
def test_the_gate_of_a_template_is_green(kind, tmp_path):
    needed(kind)
    code, said, found = gate(written(kind, tmp_path), tmp_path)
    assert code == 0, said
    held = {name for name, verdict in found.items() if verdict == "holds"}
    assert {"metric-alive", "same-scores-again", "resume-exact", "nan-stops"} <= held


FORGOTTEN = {
    "optimizer": (
        "tensorflow", "            variable.assign(saved[name])",
        "            'adam' in name or variable.assign(saved[name])",
        {"resume-exact", "checkpoint-complete"},
    ),
    "stop": (
        "tensorflow", '[*how["callbacks"], StopAtNaN()]', '[*how["callbacks"]]', {"nan-stops"},
    ),
    "seed-of-a-loader": (
        "torch", "DataLoader(pairs, generator=torch.Generator())", "DataLoader(pairs)",
        {"eval-pure"},
    ),
    "generator-of-a-shuffle": (
        "lightning", "        torch.set_rng_state(generators[2])\n", "", {"resume-exact"},
    ),
}  # fmt: skip
"""What a trainer of one's own may forget: template, text, instead of it, promises that notice."""


@pytest.mark.slow
@pytest.mark.parametrize("fault", FORGOTTEN)
def test_what_a_trainer_forgets_is_found(fault, tmp_path):
    kind, right, wrong, promises = FORGOTTEN[fault]
    needed(kind)
    path = written(kind, tmp_path)
    text = path.read_text()
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong))
    code, said, found = gate(path, tmp_path, "--promise", *sorted(promises))
    assert code == 1, said
    assert {name for name in promises if found[name] == "BROKEN"} == promises


def test_every_template_is_there():
    assert all(template(kind).startswith('"""') for kind in KINDS)
