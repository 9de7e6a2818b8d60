"""Every command of README.md and docs/ is one that the programs take, and ends as a reader expects.

A page's commands run in order in one folder, a clone of the repository; files that the page shows
are written where it shows them.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.cli import _COMMANDS
from harness.commands.parsing import CommandParser
from tests.documented import PAGES, ROOT, commands, inline, steps
from tests.foreign_runs import write_edgeflownas, write_lightning

NOT_RUN = {
    "pip install": "what is installed is what the test runs in; .ci/run installs as README.md says",
    "python -m venv efn": "needs EdgeFlowNAS's own checkout and a Python for it",
    "pytest invariants/ --system edgeflownas": "needs EdgeFlowNAS's own checkout",
    "pytest invariants/ --system raft_adapter.py": "needs RAFT's own checkout",
    "harness gate --system adapter.py:Mine": "the page's train.py is the reader's own",
    "harness import-checkpoint supernet_best.ckpt": "the checkpoint is the reader's own; "
    "tests/test_import_command.py has made ones",
    "harness eval --run runs/a --pool all --json space.json --cluster slurm": "needs a SLURM; "
    "tests/test_jobs.py asks stand-ins of it",
    "harness train --config run.yaml --fc2-root fc2 --run runs/seeds": "as above",
    "harness synth even": "tests/test_learning.py runs it, and sees that it learns",
    "harness train --config learn.yaml": "as above",
    "pytest benchmarks/": "times the machine, which has other work while tests run",
    "cosmic-ray": "takes hours; the nightly workflow runs it",
    "cr-": "as above",
    "python tests/mutation/sample.py": "as above",
}
"""By how a command begins: why no test runs it here."""

MATRIX = {
    "harness faults": "the whole matrix, of which tests/test_kill_matrix.py runs half by day",
    "harness faults --within-tier": "nearly the whole matrix; a nightly test runs it",
    "harness faults --mode fixed_steps": "half of the matrix",
    "harness faults --mode either": "half of the matrix; tests/test_kill_matrix.py runs it",
    "harness faults --json matrix.json": "the whole matrix",
    "harness faults --json matrix.json --resume": "the whole matrix",
    "harness faults --clean 50": "50 gates; tests/test_clean_configurations.py draws some",
    "harness faults --fault theirs:HalvedScore": "the whole matrix, and one more",
}
"""Whole commands that take an hour or so."""

OTHER_ENDS = {
    "harness audit outputs/supernet/run1": 1,  # this run, too, has something found
    "harness audit lightning_logs/version_3": 1,
    "harness gate-power": 1,  # as the page says, some survive
}
"""Exit codes other than 0, by how a command begins."""

MEANT = {
    "path/to/adapter.py:MyTrainer": "tests/numpy_trainer/adapter.py:NumpySystem",
    "~/venvs/mine/bin/python": sys.executable,
}
"""What stands for something of the reader's, and what it is here."""

TRAINED = ("docs/measuring.md", "docs/resuming.md", "docs/foreign-runs.md", "docs/your-trainer.md")
"""Pages whose reader has trained as docs/training.md says."""

SHORT = "--set train.num_epochs=1 --set eval.eval_pool_size=2"
"""What a run is trained with of which a page shows no more than how it is looked at."""


def excused(command: str) -> str:
    """Return how a listed command begins that this one is, or nothing."""
    found = [beginning for beginning in NOT_RUN if command.startswith(beginning)]
    return found[0] if found else command if command in MATRIX else ""


EVERY = [(page, command) for page in PAGES for command in commands(page)]
RUNNABLE = sorted({page for page, command in EVERY if not excused(command)})


def parser(name: str) -> CommandParser:
    declare = next((declare for other, declare, *_ in _COMMANDS if other == name), None)
    assert declare is not None, f"there is no harness {name}"
    made = CommandParser(prog=f"harness {name}")
    declare(made)
    made.add_argument("--json")
    return made


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_are_such_as_the_program_takes(page: str) -> None:
    for command in commands(page):
        for program, *words in map(shlex.split, command.split(" && ")):
            if program == "harness":
                parser(words[0]).parse_args(words[1:])


@pytest.fixture(scope="module")
def pytest_words() -> set[str]:
    """Return the options of pytest in a clone, those of the benchmarks too."""
    command = [sys.executable, "-m", "pytest", "--help", "benchmarks/", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(re.findall(r"--?[\w-]+", done.stdout))


@pytest.mark.parametrize("page", PAGES)
def test_commands_within_sentences_exist(page: str, pytest_words: set[str]) -> None:
    missing = []
    for command in [*commands(page), *inline(page)]:
        for program, *words in map(shlex.split, command.split(" && ")):
            known = pytest_words
            if program == "harness" and words[0][0].isalpha():
                own = set(re.findall(r"--?[\w-]+", parser(words[0]).format_help()))
                known = own | pytest_words if "--" in words else own
            if program == "pytest" or (program == "harness" and words[0][0].isalpha()):
                named = (word.strip("[]") for word in words)
                missing += [w for w in named if re.match("--?[a-z]", w) and w not in known]
            paths = [w for w in words if re.match("(tests|benchmarks|invariants|examples)/", w)]
            missing += [path for path in paths if not (ROOT / path.partition(":")[0]).exists()]
    assert missing == []


def test_no_excuse_is_left_of_a_command_that_is_gone() -> None:
    used = {excused(command) for _, command in EVERY}
    assert {*NOT_RUN, *MATRIX} - used == set()
    everything = " ".join(command for _, command in EVERY)
    assert [word for word in [*MEANT, *OTHER_ENDS] if word not in everything] == []
    assert set(TRAINED) <= set(RUNNABLE)


def given(page: str, folder: Path) -> None:
    """Put into a folder what a page takes for granted: a clone, and what is the reader's."""
    for name in ("benchmarks", "conftest.py", "docs", "examples", "fixtures", "harness",
                 "invariants", "pyproject.toml", "tests"):  # fmt: skip
        (folder / name).symlink_to(ROOT / name)
    (folder / "train.py").write_text("print('training')\n")
    if page in TRAINED:
        text = next(step.text for step in steps("docs/training.md") if step.file == "run.yaml")
        (folder / "run.yaml").write_text(text)
        synth, train, *_ = commands("docs/training.md")
        run(synth, folder)
        run(train if page == "docs/measuring.md" else f"{train} {SHORT}", folder)
    if page == "docs/measuring.md":
        (folder / "FlyingChairs2").symlink_to("fc2")
    if page == "docs/resuming.md":
        (folder / "runs" / "b").symlink_to("a")
    if page == "docs/foreign-runs.md":
        run("harness synth FlyingChairs2 --train 2 --val 2 --size 256x192", folder)
        write_edgeflownas(folder / "outputs" / "supernet" / "run1")
        write_lightning(folder / "lightning_logs" / "version_3")
        (folder / "configs").mkdir()
        (folder / "configs" / "supernet.yaml").symlink_to(ROOT / "tests" / "edgeflownas.yaml")
        rows = "".join(f"{n},{5 / n:.3f}\n" for n in range(1, 5))
        (folder / "history.csv").write_text(f"round,score\n{rows}")


def run(command: str, folder: Path) -> str:
    """Run a command as a shell does; return what it says, once it has ended as expected."""
    for name, meant in MEANT.items():
        command = command.replace(name, meant)
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment: Mapping[str, str] = {**os.environ, "PATH": paths, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    code = next((c for begins, c in OTHER_ENDS.items() if command.startswith(begins)), 0)
    assert done.returncode == code, f"$ {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def figures(text: str) -> list[str]:
    """Return the lines of a text that count promises or faults."""
    kinds = (
        r"GATE GREEN: .*not applicable",
        r"\d+ of \d+ promises of the quick tier can be judged",
        r"notices \d+ of \d+ faults planted around it; \d+ cannot be planted here",
    )
    return [found for kind in kinds for found in re.findall(kind, text)]


@pytest.mark.nightly
@pytest.mark.parametrize("page", RUNNABLE)
def test_a_page_runs_from_its_first_command_to_its_last(page: str, tmp_path: Path) -> None:
    given(page, tmp_path)
    said = []
    for step in steps(page):
        if step.file:
            (tmp_path / step.file).write_text(step.text)
        elif not excused(step.text):
            said.append(run(step.text, tmp_path))
    told = figures((ROOT / page).read_text(encoding="utf-8"))
    assert [line for line in told if line not in "\n".join(said)] == []
