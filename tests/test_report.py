"""The page of a report: what it says, what it must never do, and what is refused."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html import escape
from xml.etree import ElementTree

import pytest

from harness.cli import main
from harness.records.ledger import read_ledger
from harness.records.records import EpochRecord, EvalRecord, NoteRecord
from harness.records.run import read_history
from harness.reporting.curves import PANELS, view
from harness.reporting.markup import data
from harness.verdict import gate_note
from tests.report_runs import SEGMENTS, SLOWER, attempt, course, report, write
from tests.synthetic_run import ZERO_FLOW, make_records
from tests.test_require_gate import write as write_gate


def test_what_a_ledger_holds_is_text_and_never_markup(tmp_path, capsys):
    evil = "$\\frac{$\x07<script>alert('1')</script><img src=http://x/y>&amp;"
    records = course(attempt(2, 3, segment=evil, sections=SLOWER))
    folder = write(tmp_path / "a", [*records, NoteRecord(8, evil)])
    text, _ = report(capsys, tmp_path, folder, "--across-segments")
    scripts = re.findall(r"<script[^>]*>", text)
    assert set(scripts[:-1]) == {'<script type="application/json">'}
    assert scripts[-1] == "<script>"
    assert "<img" not in text
    assert "alert('1')</script>" not in text
    assert "&lt;script&gt;alert(&#x27;1&#x27;)" in text
    assert "&amp;amp;" in text
    assert "\x07" not in text
    plots = re.findall(r'<div class="plot curves"[^>]*>(<svg.*?</svg>)', text, re.DOTALL)
    titles = ["".join(ElementTree.fromstring(plot).itertext()) for plot in plots]
    assert len(titles) == len(PANELS)
    assert all("segment $\\frac{$?<script>" in title for title in titles)


def test_no_text_ends_the_element_that_holds_it():
    evil = {"run": "x</script><script>alert(1)</script><!--"}
    text = data(evil)
    assert text.count("<") == 2
    assert json.loads(text.partition(">")[2].removesuffix("</script>")) == evil


def test_the_page_fetches_nothing_and_runs_one_script_that_its_policy_names(tmp_path, capsys):
    text, _ = report(capsys, tmp_path, write(tmp_path / "a", course()))
    assert all(place.startswith("#") for place in re.findall(r'(?:src|href)="([^"]{0,30})', text))
    assert set(re.findall(r"url\(.", text)) <= {"url(#"}
    assert "@import" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    script = text.rpartition("<script>")[2].removesuffix("</script>\n</body>\n</html>\n")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'"
    )


def test_ids_are_unique_and_colours_are_the_themes(tmp_path, capsys):
    text, _ = report(capsys, tmp_path, write(tmp_path / "a", SEGMENTS), "--across-segments")
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:href=\"|url\()#([^\")]+)", text)) <= set(ids)
    plots = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"(?:fill|stroke): ?(#\w+)", plots)) == set()


def test_what_the_pointer_shows_is_what_the_ledger_holds(tmp_path, capsys):
    histories = [("a", course()), ("b", course(epochs=5))]
    folders = [write(tmp_path / name, records) for name, records in histories]
    text, _ = report(capsys, tmp_path, *folders)
    shown = re.findall(r'<script type="application/json">(\{"left".*?)</script>', text)
    assert len(shown) == len(PANELS)
    for panel, values in zip(PANELS, map(json.loads, shown), strict=True):
        told = {(one["run"], one["label"]): one["points"] for one in values["series"]}
        assert {run for run, _ in told} == {"a", "b"}
        for quantity in panel.quantities:
            for folder in folders:
                view_ = view("a", read_history(read_ledger(folder / "ledger.jsonl")), across=False)
                found = [
                    [row.epoch, quantity.value(attempt, row)]
                    for attempt in view_.training for row in attempt.rows
                    if quantity.value(attempt, row) is not None
                ]  # fmt: skip
                assert told[folder.name, quantity.label] == found


def test_every_plot_of_several_runs_says_which_is_which(tmp_path, capsys):
    folders = [write(tmp_path / name, course()) for name in ("a", "b")]
    text, _ = report(capsys, tmp_path, *folders)
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', text)
    assert len(legends) == len(PANELS)
    assert all(re.search(r"--run-0.*?>a<.*--run-1.*?>b<", legend) for legend in legends)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ({"commit": "abc", "dirty": True}, "commit abc, dirty"),
        ({"commit": "abc", "dirty": False}, "commit abc, clean"),
        ({"commit": "abc", "dirty": None}, "commit abc, not known to be clean"),
        ({"commit": "abc", "dirty": [1]}, "commit abc, not known to be clean"),
        ({"commit": "", "reason": "git is not installed"},
         "commit not recorded: git is not installed"),
    ],
)  # fmt: skip
def test_a_card_names_the_commit_and_whether_it_is_all_there_is(tmp_path, capsys, code, text):
    opening, *rest = course()
    folder, file = write(tmp_path / "a", [replace(opening, code=code), *rest]), tmp_path / "r.json"
    report(capsys, tmp_path, folder, "--json", file)
    (run,) = json.loads(file.read_text())["runs"]
    assert {fact["name"]: fact["text"] for fact in run["facts"]}["code"] == text


def test_a_card_says_verdicts_code_environment_and_what_is_absent(tmp_path, capsys):
    folder, file = write(tmp_path / "a", course()), tmp_path / "report.json"
    text, _ = report(capsys, tmp_path, folder, "--json", file)
    (run,) = json.loads(file.read_text())["runs"]
    facts = {fact["name"]: fact for fact in run["facts"]}
    assert facts["audit"]["text"].startswith("AUDIT ")
    assert facts["gate"]["text"].startswith("none named: harness report --gate-file FILE")
    assert facts["code"]["text"] == "commit not recorded"
    assert facts["environment"]["text"] == "threads 2"
    for fact in facts.values():
        assert f"<dt>{fact['name']}</dt>" in text
        assert escape(fact["text"]) in text
    command = f"harness report {folder} --json {file} --out {tmp_path / 'report.html'}"
    assert f"Made by <code>{command}</code>" in text
    assert main(["audit", str(folder)]) == (0 if facts["audit"]["good"] else 1)
    assert capsys.readouterr().out.splitlines()[-1] == facts["audit"]["text"]


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [("green", ' class="good"'), ("red", ' class="bad"'), ("green except known", "")],
)
def test_a_gate_s_verdict_is_on_the_card(verdict, kind, tmp_path, capsys):
    folder, file = write(tmp_path / "a", course(epochs=1)), tmp_path / "gate.json"
    write_gate(file, verdict=verdict, version="0.1.0", gated={"name": "mine.py:Mine"})
    text, _ = report(capsys, tmp_path, folder, "--gate-file", file)
    told = f"gated: {verdict}, mine.py:Mine (commit not known), samebits 0.1.0, tier quick"
    assert f"<dt>gate</dt><dd{kind}>{told}</dd>" in text


def test_what_a_run_was_gated_with_is_on_its_card(tmp_path, capsys):
    note = gate_note({"verdict": "green", "system": "builtin", "version": "1", "tier": "quick"})
    folder = write(tmp_path / "a", [*course(epochs=1), NoteRecord(0, note)])
    text, _ = report(capsys, tmp_path, folder)
    assert f'<dt>gate</dt><dd class="good">{note}</dd>' in text


def test_a_gate_file_that_a_hand_has_changed_is_on_no_card(tmp_path, capsys):
    folder, file = write(tmp_path / "a", course(epochs=1)), tmp_path / "gate.json"
    write_gate(file, verdict="red")
    file.write_text(file.read_text().replace("red", "green"))
    error, _ = report(capsys, tmp_path, folder, "--gate-file", file, code=2)
    assert f"{file}: it was changed since it was written" in error


ELSEWHERE = """
import sys, matplotlib
before = matplotlib.rcParams.copy()
from harness.cli import main
code = main(sys.argv[1:])
found = {"tensorflow", "cv2", "matplotlib.pyplot"} & set(sys.modules)
print(code, sorted(found), before == matplotlib.rcParams.copy())
"""
WORDS = ["report", "../a", "--out", "r.html", "--across-segments"]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Return the page of a run that another process has made, and what it said."""
    folder = tmp_path_factory.mktemp("elsewhere")
    write(folder / "a", SEGMENTS)
    (folder / "b").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *WORDS], cwd=folder / "b", capture_output=True,
        text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"},
    )  # fmt: skip
    assert done.stderr == ""
    return folder / "b" / "r.html", done.stdout


def test_one_ledger_gives_one_page_to_the_last_byte(elsewhere, monkeypatch):
    theirs = elsewhere[0]
    ours = theirs.parent.with_name("c")
    ours.mkdir()
    monkeypatch.chdir(ours)
    assert main(WORDS) == 0
    assert (ours / "r.html").read_bytes() == theirs.read_bytes()


def test_a_report_imports_no_tensorflow_and_leaves_matplotlib_as_it_was(elsewhere):
    assert elsewhere[1].splitlines()[-1] == "0 [] True"


def flat(record):
    if isinstance(record, EvalRecord):
        return replace(record, mean_epe=ZERO_FLOW, std_epe=0.001)
    if isinstance(record, EpochRecord):
        return replace(record, mean_epe_12=ZERO_FLOW, std_epe_12=0.001)
    return record


def saturated(record):
    if isinstance(record, EpochRecord):
        return replace(record, clip_count=record.clip_checks, clip_rate=1.0)
    return record


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (flat, "at the zero flow&#x27;s level: in the last 8 evaluations"),
        (saturated, "saturated clipping: every check clipped at 50 in 8 of 8 epochs"),
    ],
)
def test_a_suspicious_run_is_warned_of_in_red(change, text, tmp_path, capsys):
    found, said = report(capsys, tmp_path, write(tmp_path / "a", course(change=change)))
    assert f'<p class="warning">Warning: {text}' in found
    assert "warning: a: " in said
    found, said = report(capsys, tmp_path, write(tmp_path / "b", course()))
    assert '<p class="warning"' not in found
    assert "b: epoch 8: EPE " in said
    assert f"an all-zero flow's {ZERO_FLOW:.4f} px" in said


def test_a_killed_run_with_a_broken_last_line_is_shown(tmp_path, capsys):
    folder = write(tmp_path / "a", course())
    path = folder / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    text, said = report(capsys, tmp_path, folder)
    number = len(path.read_text().splitlines())
    assert f"broken line {number} (cut short by a kill, the rest is read)" in text
    assert f"a: broken line {number}" in said
    assert "epoch 7: EPE" in text


def test_a_plot_without_a_value_does_not_deny_the_evaluation_that_there_is(tmp_path, capsys):
    text, _ = report(capsys, tmp_path, write(tmp_path / "a", course(epochs=1)))
    absent = "Nothing to draw: no evaluation that is shown gives a value."
    # Of one evaluation there is no tau, and everything else.
    assert text.count("Nothing to draw") == 1
    assert f'against the previous evaluation</figcaption><p class="small">{absent}</p>' in text


def test_the_tables_are_json_for_machines(tmp_path, capsys):
    file = tmp_path / "report.json"
    folder = write(tmp_path / "a", [*SEGMENTS, NoteRecord(8, "early stop")])
    report(capsys, tmp_path, folder, "--json", file)
    (run,) = json.loads(file.read_text())["runs"]
    assert [(s["name"], s["shown"], s["attempts"]) for s in run["segments"]] == [
        ("main", False, 1), ("slower", True, 1),
    ]  # fmt: skip
    assert [row["epoch"] for row in run["epochs"]] == [4, 5, 6, 7, 8]
    assert run["notes"] == [{"epoch": 8, "segment": "slower", "text": "early stop"}]
    assert run["left_out"] == ["segment main (epochs 1 to 3)"]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (None, "no such ledger; name a run directory"),
        ([], "holds no run record"),
        (make_records()[:4], "no epoch is finished yet"),
        (course(change=lambda r: replace(r, lr="high") if isinstance(r, EpochRecord) else r),
         "evidence is lost here): ValueError: epoch.lr: expected a finite number, found 'high'"),
    ],
    ids=["absent", "empty", "unfinished", "wrong types"],
)  # fmt: skip
def test_what_cannot_be_shown_is_wrong_input(records, message, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    if records is not None:
        write(tmp_path / "a", records)
    error, _ = report(capsys, tmp_path, tmp_path / "a", code=2)
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "--out", "a"], "--out a: is a folder"),
        (["a", "--out", "a/ledger.jsonl"], "--out a/ledger.jsonl: is one of the files of the run"),
        (["a", "--out", "b/r.html"], "there is no folder b"),
        (["a", "a/ledger.jsonl", "--out", "r.html"], "named twice"),
        (["a", "--out", "r.html", "--json", "r.html"], "--json r.html: is what --out writes, too"),
    ],
    ids=["directory", "ledger", "no folder", "twice", "one file for two"],
)
def test_nothing_is_destroyed_by_a_slip(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a", course()) / "ledger.jsonl"
    before = path.read_bytes()
    assert main(["report", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert path.read_bytes() == before
