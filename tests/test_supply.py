"""What comes from elsewhere: actions by digest, packages by hash, and nothing at run time."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = [*WORKFLOWS, ROOT / "action.yml"]
LEAST = {"contents": "read"}


@pytest.mark.parametrize("path", ACTIONS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_digest_with_its_version_beside_it(path):
    uses = re.findall(r"^\s*-? ?uses: (.+)$", path.read_text(), re.MULTILINE)
    assert uses or path.name == "action.yml"
    wrong = [
        use for use in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_nothing_and_each_job_of_it_may_read(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    assert {str(job["permissions"]) for job in workflow["jobs"].values()} == {str(LEAST)}
    kept = [
        step
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "checkout" in step.get("uses", "") and step["with"]["persist-credentials"] is not False
    ]
    assert kept == []


def pins(text):
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([A-Za-z0-9_.]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_each_pinned_version_has_hashes_and_nothing_else_has():
    hashed = (ROOT / "constraints-hashed.txt").read_text()
    assert pins(hashed) == pins((ROOT / "constraints.txt").read_text())
    for entry in re.split(r"\n(?=\S)", hashed.strip()):
        first, *rest = entry.split("\n")
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+( ; .+)? \\", first), first
        assert rest
        for line in rest:  # a hash, and no host
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_ci_installs_by_hash_and_builds_without_an_index():
    install = (ROOT / ".ci" / "install").read_text()
    assert "pip install --require-hashes --no-deps -r constraints-hashed.txt" in install
    assert "PIP_NO_INDEX=1" in install
    assert "bash .ci/install" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_installs_by_hash_or_as_the_readme_says(path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for words in re.findall(r"pip install[^&|\n]*", path.read_text(encoding="utf-8")):
        assert "--require-hashes" in words or words.strip() in readme, words


ENTRY = r"[a-z0-9-]+==[0-9.]+(?:\+cpu)? \\\n    --hash=sha256:[0-9a-f]{64}\n"
ASIDE = {
    "constraints-torch.txt": (
        r"^torch==2\.13\.0\+cpu ",
        "no CPU build of PyTorch 2.13.0 is to be had here: its tests are skipped by name",
    ),
    "constraints-lightning.txt": (
        r"^lightning==2\.6\.6 ",
        "Lightning 2.6.6 is not to be had here: its tests are skipped by name",
    ),
}
"""Files of what CI installs where it is to be had: what they pin, and what is said without it."""


@pytest.mark.parametrize("file", ASIDE)
def test_what_is_installed_aside_is_one_build_by_hash_with_all_that_it_needs(file):
    text = (ROOT / file).read_text()
    assert re.fullmatch(f"(?:{ENTRY})+", text)
    assert re.search(ASIDE[file][0], text, re.MULTILINE)
    # What two files need has one version, that of the other file.
    others = {"constraints.txt", *ASIDE} - {file}
    assert not any(pins(text).keys() & pins((ROOT / other).read_text()).keys() for other in others)


@pytest.mark.parametrize("file", ASIDE)
def test_ci_goes_on_without_it_and_says_so(file, tmp_path):
    pip = tmp_path / "pip"
    pip.write_text(f'#!/bin/sh\ncase "$*" in *{file}) exit 1;; esac\n')
    pip.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", ROOT / ".ci" / "install"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{ASIDE[file][1]}\n"


def direct():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for group in extras.values() for line in group)]
    names = {re.split(r"[\[>=<]", line)[0].lower() for line in lines}
    return sorted(names - {"samebits"})


@pytest.mark.parametrize("name", direct())
def test_a_direct_dependency_is_explained(name):
    page = (ROOT / "docs" / "dependencies.md").read_text().lower()
    row = next((line for line in page.splitlines() if line.startswith(f"| {name} |")), None)
    assert row is not None
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == 5
    assert all(cells)
    assert re.fullmatch(r"[\d.]+, 20\d\d-\d\d", cells[3])


def without_network(folder, *words):
    """Run the command where only sockets of the machine itself can be made; return which were."""
    found = folder / "sockets.txt"
    path = os.pathsep.join([str(ROOT / "tests" / "no_network"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "SOCKETS_FOUND": str(found)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return found.read_text() if found.exists() else ""


def test_a_socket_that_leads_out_is_found(tmp_path):
    code = "import socket\ntry: socket.create_connection(('a.test', 80))\nexcept OSError: pass"
    assert without_network(tmp_path, "-c", code) == "a look-up of a.test\n"
    (tmp_path / "sockets.txt").unlink()
    code = (
        "import socket\nmade = socket.socket(type=socket.SOCK_DGRAM)\n"
        "try: made.sendto(b'x', ('127.0.0.1', 9))\nexcept OSError: pass\n"
        "try: made.connect(('192.0.2.1', 9))\nexcept OSError: pass\n"
        "try: made.bind(('', 0))\nexcept OSError: pass"
    )
    assert without_network(tmp_path, "-c", code) == (
        "a way to ('127.0.0.1', 9)\na way to ('192.0.2.1', 9)\na service at ('', 0)\n"
    )
    (tmp_path / "sockets.txt").unlink()
    code = "import socket\nsocket.socket(socket.AF_UNIX).close()\nsocket.socket().close()"
    assert without_network(tmp_path, "-c", code) == ""


def test_audit_and_report_open_no_socket(tmp_path):
    old = str(ROOT / "tests" / "old_run")
    assert without_network(tmp_path, "-m", "harness", "audit", old) == ""
    words = ("-m", "harness", "report", old, "--out", "report.html", "--across-segments")
    assert without_network(tmp_path, *words) == ""


@pytest.mark.nightly
def test_gate_training_and_evaluation_open_no_socket(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "model: {width: 8}\ndata: {input_height: 64, input_width: 96}\n"
        "train: {num_epochs: 1, epoch_mode: full_pass, batch_size: 5, micro_batch_size: 2}\n"
        "eval: {eval_pool_size: 2, bn_recal_batches: 1, eval_batches_per_arch: 1}\n"
    )
    synth = ("synth", "fc2", "--train", "7", "--val", "3", "--size", "128x96")
    given = ("--config", "run.yaml", "--fc2-root", "fc2")
    for words in (
        synth,
        ("train", *given, "--run", "a"),
        ("eval", "--run", "a", "--checkpoint", "last"),
        ("gate", "--system", "builtin", "--tier", "smoke"),
    ):
        assert without_network(tmp_path, "-m", "harness", *words) == "", words
