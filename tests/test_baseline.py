import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.baseline import Baseline, machine

ROOT = Path(__file__).parents[1]
TIMED = """
import json, os
def test_seconds(baseline):
    if baseline is not None:
        baseline.judge("eval", float(os.environ["SECONDS_TAKEN"]), {"width": os.environ["WIDTH"]})
"""


def session(folder, seconds, *words, width=8, code=0):
    (folder / "test_timed.py").write_text(TIMED)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.baseline",
         "-p", "no:cacheprovider", "--junitxml", "junit.xml", "test_timed.py", *words],
        cwd=folder, text=True, capture_output=True, check=False,
        env={"PYTHONPATH": str(ROOT), "SECONDS_TAKEN": str(seconds), "WIDTH": str(width),
             "PATH": ""},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def junit(folder):
    suite = ET.parse(folder / "junit.xml").getroot().find("testsuite")
    return suite.get("failures"), suite.get("errors")


def test_a_slower_benchmark_is_a_test_that_fails(tmp_path):
    asked = ("--samebits-baseline", "base.json", "--samebits-max-slower", "1.5")
    first = session(tmp_path, 2.0, *asked)
    assert "baseline: 1 saved, nothing to compare" in first
    kept = (tmp_path / "base.json").read_bytes()
    assert "1 compared, 0 over 1.5 times" in session(tmp_path, 2.9, *asked)
    slow = session(tmp_path, 3.1, *asked, code=1)
    assert junit(tmp_path) == ("1", "0")
    assert "eval: expected at most 1.5 times the 2 s of commit" in slow
    assert "found 3.1 s, 1.55 times" in slow
    assert "Traceback" not in slow
    assert (tmp_path / "base.json").read_bytes() == kept
    [(name, found)] = json.loads(kept).items()
    assert name == machine()
    [entry] = found.values()
    assert (entry["seconds"], entry["options"]) == (2.0, {"width": "8"})
    assert "id" in entry["commit"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samebits-max-slower", "2"], "needs --samebits-baseline"),
        (["--samebits-baseline", "test_timed.py"], "test_timed.py: not a baseline"),
    ],
)
def test_options_that_cannot_work_end_the_session_before_it_measures(tmp_path, words, message):
    told = session(tmp_path, 1.0, *words, code=4)
    assert message in told
    assert "Traceback" not in told


def opened(path, name="a", most=1.2):
    return Baseline(path, most, name, {"id": "abc"})


def test_machines_and_options_do_not_compare_with_one_another(tmp_path):
    path = tmp_path / "base.json"
    for name, options, seconds in (("a", {}, 1.0), ("b", {}, 9.0), ("a", {"width": 2}, 5.0)):
        found = opened(path, name)
        found.judge("eval", seconds, options)
        assert (found.compared, len(found.saved)) == ({}, 1)
        found.write()
    assert {name: len(kept) for name, kept in json.loads(path.read_text()).items()} == {
        "a": 2, "b": 1
    }  # fmt: skip
    again = opened(path, "b")
    again.judge("eval", 9.9, {})
    assert again.compared == {"eval": pytest.approx(1.1)}
    assert again.line().startswith("1 compared, 0 over 1.2 times; the worst is eval, 1.10 times")
