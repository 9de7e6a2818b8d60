"""A gate file vouches for what it was made of, and for nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.require_gate import FORMAT, GateError, code_digest, data_digest, require_gate, seal_of


def write(path, **changes):
    gate = {
        "format": FORMAT, "verdict": "green", "system": "mine.py:Mine", "tier": "quick",
        "relations": {"a": {"verdict": "holds"}, "b": {"verdict": "n/a"}}, "known_defects": {},
        "digests": {"declarations": "d"}, "required": [], "due": ["a", "b"], **changes,
    }  # fmt: skip
    path.write_text(json.dumps({**gate, "seal": seal_of(gate)}))
    return path


def test_a_green_gate_is_accepted(tmp_path):
    found = require_gate(write(tmp_path / "g.json"), system="mine.py:Mine", declarations="d")
    assert found["verdict"] == "green"


@pytest.mark.parametrize(
    ("changes", "asked", "told"),
    [
        ({"verdict": "red"}, {}, "verdict 'red', expected 'green'"),
        ({"relations": {"a": {"verdict": "BROKEN"}}}, {}, "a: BROKEN"),
        ({"relations": {"a": {"verdict": "error"}}}, {}, "a: error"),
        ({"relations": {"b": {"verdict": "n/a"}}}, {}, "no promise holds"),
        ({}, {"tier": "thorough"}, "tier 'thorough', expected one of smoke, quick, full, nightly"),
        ({"due": ["a", "b", "c"]}, {}, "1 of 3 not judged"),
        ({"required": ["a"], "due": ["a"]}, {}, "about 1 promise that it was asked for by name"),
        ({"tier": "smoke"}, {}, "tier 'smoke', expected 'quick' or more"),
        ({"format": 1}, {}, "format 1, expected 2: gate again"),
        ({"format": None}, {}, "format None, expected 2: gate again"),
        ({}, {"system": "builtin"}, "system: gated 'mine.py:Mine', asked 'builtin'"),
        ({}, {"declarations": "e"}, "declarations: gated 'd', asked 'e'"),
        ({}, {"promises": ["b"]}, "b: n/a"),
        ({}, {"promises": ["zzz"]}, "zzz: not judged"),
        ({}, {"code": "."}, "code: gated None, asked "),
        ({"verdict": "green except known", "known_defects": {"a": "why"},
          "relations": {"a": {"verdict": "BROKEN"}, "c": {"verdict": "holds"}}}, {},
         "verdict 'green except known', expected 'green'; a: BROKEN"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_name(tmp_path, changes, asked, told):
    path = write(tmp_path / "g.json", **changes)
    with pytest.raises(GateError) as error:
        require_gate(path, **asked)
    assert told in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "edit",
    [
        {"verdict": "green except known"}, {"tier": "nightly"}, {"relations": {"a": {}}},
        {"seal": ""}, {"more": 1}, {"due": ["a"]}, {"digests": []}, {"known_defects": []},
    ],
)  # fmt: skip
def test_a_file_that_a_hand_has_changed_is_refused(tmp_path, edit):
    path = write(tmp_path / "g.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))
    with pytest.raises(GateError, match="it was changed since it was written"):
        require_gate(path)


def test_a_gate_for_promises_by_name_vouches_for_these_alone(tmp_path):
    path = write(tmp_path / "g.json", required=["a"], due=["a"])
    assert require_gate(path, promises=["a"])["required"] == ["a"]
    with pytest.raises(GateError, match="b: not judged"):
        require_gate(
            write(path, required=["a"], relations={"a": {"verdict": "holds"}}), promises=["b"]
        )


def test_the_folder_of_a_systems_file_does_not_count(tmp_path):
    assert require_gate(write(tmp_path / "g.json"), system="some/where/mine.py:Mine")


def test_what_could_not_be_checked_is_no_known_defect(tmp_path):
    relations = {"a": {"verdict": "error"}, "b": {"verdict": "holds"}}
    changes = {"verdict": "green except known", "known_defects": {"a": "why"}}
    path = write(tmp_path / "g.json", relations=relations, **changes)
    with pytest.raises(GateError, match="a: error"):
        require_gate(path, accept_known_defects=True)


def test_known_defects_are_accepted_with_their_reason_alone(tmp_path):
    broken = {"a": {"verdict": "BROKEN"}, "c": {"verdict": "holds"}}
    changes = {"verdict": "green except known", "relations": broken}
    changes["due"] = ["a", "c"]
    path = write(tmp_path / "g.json", known_defects={"a": "why"}, **changes)
    assert require_gate(path, accept_known_defects=True)["verdict"] == "green except known"
    write(path, **changes)
    with pytest.raises(GateError, match="a: BROKEN"):
        require_gate(path, accept_known_defects=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"relations": 3}', "\x00"])
def test_what_is_no_gate_file_is_told_in_a_line(tmp_path, text):
    path = tmp_path / "g.json"
    path.write_text(text)
    with pytest.raises(GateError, match="not a gate file"):
        require_gate(path)
    with pytest.raises(GateError, match="no such file"):
        require_gate(tmp_path / "absent.json")


def test_data_are_known_by_names_and_sizes(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").write_bytes(b"12")
    before = data_digest(tmp_path)
    (tmp_path / ".cache").write_bytes(b"hidden")
    gate = tmp_path / "gate.json"
    gate.write_text("{}")
    assert data_digest(tmp_path, [gate]) == before
    gate.unlink()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    assert data_digest(tmp_path).startswith("2 files ")
    (tmp_path / "train" / "b.png").write_bytes(b"")
    assert data_digest(tmp_path).startswith("3 files ")


@pytest.mark.parametrize("digest", [code_digest, data_digest])
def test_a_folder_that_is_not_there_is_no_other_one(tmp_path, digest):
    with pytest.raises(GateError, match="absent: no such folder"):
        digest(tmp_path / "absent")


@pytest.fixture
def git(tmp_path):
    def git(*words):
        named = ("-c", "user.name=n", "-c", "user.email=e")
        command = ["git", "-C", str(tmp_path), *named, *words]
        subprocess.run(command, check=True, capture_output=True)

    return git


def committed(git, folder, **files):
    git("init", "-q")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    git("add", ".")
    git("commit", "-qm", "first")
    return code_digest(folder)


def test_code_is_known_by_its_content(tmp_path, git):
    (tmp_path / "a.py").write_text("1\n")
    assert code_digest(tmp_path).startswith("files ")
    first = committed(git, tmp_path, a="1\n")
    assert first.startswith("git . ")
    (tmp_path / "notes.txt").write_text("of no weight\n")
    (tmp_path / "result.json").write_text("{}")
    assert code_digest(tmp_path) == first
    (tmp_path / "a.py").write_text("2\n")
    changed = code_digest(tmp_path / "a.py")
    assert changed != first
    git("commit", "-qam", "second")
    assert code_digest(tmp_path) == changed


@pytest.mark.parametrize("hidden", ["assume-unchanged", "skip-worktree"])
def test_what_git_was_told_not_to_look_at_counts(tmp_path, git, hidden):
    first = committed(git, tmp_path, a="1\n")
    git("update-index", f"--{hidden}", "a.py")
    (tmp_path / "a.py").write_text("2\n")
    assert code_digest(tmp_path) != first


def test_code_in_a_folder_that_git_ignores_counts(tmp_path, git):
    runs = tmp_path / "runs"
    runs.mkdir()
    (tmp_path / ".gitignore").write_text("runs/\nlocal.py\n")
    first = committed(git, tmp_path, a="1\n")
    (tmp_path / "local.py").write_text("1\n")
    assert code_digest(tmp_path) != first
    (runs / "adapter.py").write_text("1\n")
    before = code_digest(runs)
    (runs / "adapter.py").write_text("2\n")
    assert code_digest(runs) != before


def test_code_of_nested_repositories_and_links_counts(tmp_path, git):
    inside, outside = tmp_path / "repo" / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        (folder / "b.py").write_text("1\n")
    subprocess.run(["git", "init", "-q", str(inside)], check=True)
    repo = tmp_path / "repo"
    (repo / "linked").symlink_to(outside)
    git("-C", str(repo), "init", "-q")
    (repo / "a.py").write_text("1\n")
    git("-C", str(repo), "add", "a.py", "linked")
    seen = [code_digest(repo)]
    for folder in (inside, outside):
        (folder / "b.py").write_text("2\n")
        seen.append(code_digest(repo))
    assert len(set(seen)) == 3


def test_another_folder_of_the_repository_is_another_trainer(tmp_path, git):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter.py").write_text("1\n")
    committed(git, tmp_path)
    assert code_digest(tmp_path / "a") != code_digest(tmp_path / "b")
    assert code_digest(tmp_path / "a").startswith("git a ")


def test_a_repository_that_cannot_be_listed_vouches_for_nothing(tmp_path, git):
    committed(git, tmp_path, a="1\n")
    (tmp_path / ".git" / "index").write_bytes(b"damaged")
    with pytest.raises(GateError, match="git does not list its files"):
        code_digest(tmp_path)


def test_it_is_one_file_that_needs_nothing(tmp_path):
    import harness.require_gate as module

    copied = tmp_path / "copied.py"
    copied.write_text(Path(module.__file__).read_text())
    path = write(tmp_path / "g.json")
    script = f"import copied; print(copied.require_gate({str(path)!r})['verdict'])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "green\n"


@pytest.mark.parametrize(("verdict", "code"), [("green", 0), ("red", 2)])
def test_as_a_script_it_takes_a_green_file_alone(tmp_path, verdict, code):
    import harness.require_gate as module

    path = write(tmp_path / "g.json", verdict=verdict)
    command = [sys.executable, "-S", module.__file__, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert ("gated: green" in done.stdout) == (code == 0)
