"""A gate file vouches for what it was made of, and for nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.require_gate import FORMAT, GateError, code_digest, data_digest, require_gate


def write(path, **changes):
    gate = {
        "format": FORMAT, "verdict": "green", "system": "mine.py:Mine", "tier": "quick",
        "relations": {"a": {"verdict": "holds"}, "b": {"verdict": "n/a"}}, "known_defects": {},
        "digests": {"declarations": "d"}, **changes,
    }  # fmt: skip
    path.write_text(json.dumps(gate))
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
        ({"relations": {"a": "holds"}}, {}, "a: None"),
        ({"relations": {"b": {"verdict": "n/a"}}}, {}, "no promise holds"),
        ({"tier": "thorough"}, {}, "tier 'thorough', expected one of smoke, quick, full, nightly"),
        ({"tier": "smoke"}, {}, "tier 'smoke', expected 'quick' or more"),
        ({"format": 1}, {}, "format 1, expected 2: gate again"),
        ({"format": None}, {}, "format None, expected 2: gate again"),
        ({}, {"system": "builtin"}, "system: gated 'mine.py:Mine', asked 'builtin'"),
        ({}, {"declarations": "e"}, "declarations: gated 'd', asked 'e'"),
        ({}, {"promises": ["b"]}, "b: not judged"),
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


def test_known_defects_are_accepted_with_their_reason_alone(tmp_path):
    broken = {"a": {"verdict": "BROKEN"}, "c": {"verdict": "holds"}}
    changes = {"verdict": "green except known", "relations": broken}
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
    assert data_digest(tmp_path) == before
    (tmp_path / "train" / "b.png").write_bytes(b"")
    assert data_digest(tmp_path) != before
    assert data_digest(tmp_path).startswith("2 files ")


def test_code_is_known_by_its_commit_and_what_differs_from_it(tmp_path):
    def git(*words):
        named = ("-c", "user.name=n", "-c", "user.email=e")
        subprocess.run(
            ["git", "-C", str(tmp_path), *named, *words], check=True, capture_output=True
        )

    (tmp_path / "a.py").write_text("1\n")
    files = code_digest(tmp_path)
    assert files.startswith("files ")
    git("init", "-q")
    git("add", "a.py")
    git("commit", "-qm", "first")
    seen = [code_digest(tmp_path)]
    assert seen[0].startswith("git ")
    (tmp_path / "a.py").write_text("2\n")
    seen.append(code_digest(tmp_path))
    (tmp_path / "b.py").write_text("3\n")
    seen.append(code_digest(tmp_path / "b.py"))
    (tmp_path / "notes.txt").write_text("of no weight\n")
    assert code_digest(tmp_path) == seen[-1]
    git("add", ".")
    git("commit", "-qm", "second")
    seen.append(code_digest(tmp_path))
    assert len(set(seen)) == len(seen)


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
