import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.cli import main
from harness.promises.ledger.registry import LEDGER_PROMISES
from harness.records.ledger import Ledger
from harness.records.records import EpochRecord, EvalRecord, ResumeRecord, RunRecord
from tests.chains import unchained
from tests.synthetic_run import make_records, opening, tree

OFFLINE = list(LEDGER_PROMISES)


def write(folder, records):
    """Append records, each attempt's by a ledger of its own."""
    ledger = Ledger(folder / "ledger.jsonl")
    for record in records:
        if isinstance(record, RunRecord) and record.attempt > 1:
            ledger.close()
            ledger = Ledger(folder / "ledger.jsonl", attempt=record.attempt)
        ledger(record)
    ledger.close()
    return folder


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "run", make_records())


def audit(capsys, *words, code):
    assert main(["audit", *map(str, words)]) == code
    return capsys.readouterr().out.splitlines()


def test_a_sound_run_is_clean_and_every_promise_has_a_line(run, capsys):
    lines = audit(capsys, run, code=0)
    assert lines[-1] == f"AUDIT CLEAN: {len(OFFLINE)} promises hold"
    assert [line.split()[:2] for line in lines[1:-1]] == [["holds", name] for name in OFFLINE]
    assert "4 finished epochs, 12 steps, 4 evaluations" in lines[0]


def test_the_ledger_itself_can_be_named(run, capsys):
    assert audit(capsys, run / "ledger.jsonl", code=0)[-1].startswith("AUDIT CLEAN")


def test_a_broken_promise_is_shown_with_its_hint_and_exit_code_1(tmp_path, capsys):
    records = [
        replace(record, stats_digest="s") if isinstance(record, EvalRecord) else record
        for record in make_records()
    ]
    lines = audit(capsys, write(tmp_path, records), code=1)
    found = [line for line in lines if line.startswith("BROKEN")]
    assert [line.split()[1] for line in found] == ["ledger-metric-alive"]
    place = lines.index(f"Broken promise: {LEDGER_PROMISES['ledger-metric-alive'].sentence} "
                        "[ledger-metric-alive]")  # fmt: skip
    assert lines[place + 1].startswith("  - epoch 2, stats_digest: expected another than in epoch")
    hint = LEDGER_PROMISES["ledger-metric-alive"].hint
    assert lines[place + 4] == f"What it usually means: {hint}"
    assert lines[-1] == f"AUDIT BROKEN: {len(OFFLINE) - 1} promises hold, 1 broken"


def test_a_tail_cut_by_a_kill_is_reported_and_breaks_nothing(run, capsys):
    path = run / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    lines = audit(capsys, run, code=0)
    number = len(path.read_text().splitlines())
    assert lines[1].startswith(
        f"broken line {number} (cut short by a kill, the rest is read): JSON"
    )
    assert lines[-1].startswith("AUDIT CLEAN")


def test_a_tail_before_the_next_attempt_breaks_nothing(tmp_path, capsys):
    records = make_records()
    place = next(i for i, r in enumerate(records) if getattr(r, "epoch", 0) == 3)
    folder = write(tmp_path, records[: place + 2])
    with (folder / "ledger.jsonl").open("a") as file:
        file.write('{"kind":"step","epo')
    border = [opening(tree(), attempt=2), ResumeRecord(2, 2, 2, 8, "d")]
    write(folder, [*border, *records[place + 2 :]])
    lines = audit(capsys, folder, code=0)
    assert "cut short by a kill" in lines[1]
    assert lines[0].endswith("attempts: 2")


def test_a_line_lost_within_an_attempt_is_broken(run, capsys):
    path = run / "ledger.jsonl"
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if '"kind":"checkpoint"' in line)
    lines[place] = lines[place][:20]
    path.write_text("\n".join(lines) + "\n")
    shown = audit(capsys, run, code=1)
    assert shown[1].startswith(f"broken line {place + 1} (evidence is lost here): ")
    assert shown[-1] == f"AUDIT BROKEN: {len(OFFLINE)} promises hold, 1 lines lost"


def test_a_figure_that_was_changed_is_broken_and_named_by_its_line(run, capsys):
    path = run / "ledger.jsonl"
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if '"kind":"norms"' in line)
    lines[place] = re.sub(r"\d(?=\.)", lambda d: str((int(d[0]) + 1) % 10), lines[place], count=1)
    path.write_text("\n".join(lines) + "\n")
    shown = audit(capsys, run, code=1)
    assert shown[1].startswith(
        f"broken line {place + 1} (evidence is lost here): changed since it was written"
    )


def test_a_ledger_without_digests_is_said_to_be_of_an_earlier_version(run, capsys):
    count = len(unchained(run / "ledger.jsonl"))
    shown = audit(capsys, run, code=0)
    assert shown[1] == (
        f"note: {count} lines of an earlier version carry no digest: whether they were changed "
        "since is not known"
    )


def test_a_short_run_says_what_cannot_be_judged(tmp_path, capsys):
    records = make_records(epochs=1)
    lines = audit(capsys, write(tmp_path, records[:3]), code=0)
    unjudged = [line for line in lines if line.startswith("n/a")]
    assert all("not enough evidence: " in line for line in unjudged)
    assert len(unjudged) > 5
    assert lines[-1].endswith(f"{len(unjudged)} not applicable")


@pytest.mark.parametrize("wrong", [{"mean_epe_12": "high"}, {"epoch": "last"}])
def test_a_ledger_of_the_wrong_types_is_broken_and_no_traceback(wrong, tmp_path, capsys):
    records = [
        replace(record, **wrong) if isinstance(record, EpochRecord) else record
        for record in make_records()
    ]
    lines = audit(capsys, write(tmp_path, records), code=1)
    assert f"(evidence is lost here): ValueError: epoch.{next(iter(wrong))}: expected a" in lines[1]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (None, "no such ledger; name a run directory"),
        ([], "holds no run record"),
        (make_records()[:1], "the run has not made a step yet"),
        (make_records()[1:], "holds no run record"),
    ],
    ids=["absent", "empty", "opening alone", "headless"],
)
def test_what_is_no_run_is_wrong_input(records, message, tmp_path, capsys):
    if records is not None:
        write(tmp_path, records)
    assert main(["audit", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_result_is_json_for_machines(run, tmp_path, capsys):
    file = tmp_path / "audit.json"
    audit(capsys, run, "--json", file, code=0)
    found = json.loads(file.read_text())
    assert found["verdict"] == "clean"
    assert found["broken_lines"] == []
    assert list(found["relations"]) == OFFLINE
    assert set(found["relations"][OFFLINE[0]]) == {"verdict", "text", "violations", "warnings"}


def test_the_audit_does_not_import_tensorflow(run):
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"code = main(['audit', {str(run)!r}])\n"
        "print(code, sorted({'tensorflow', 'cv2', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
