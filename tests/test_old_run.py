"""A run directory of an earlier version, cut, resumed and changed, is read as that version did.

``old_run/`` holds its ledger, epoch log and configuration, and what audit and report said then:
killed between the checkpoint and the row of epoch 1, resumed with another thread count, and
continued as segment ``wide`` with another clip threshold and more evaluation batches.
"""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from harness.cli import main
from harness.config import dump_config, load_config, parse_config
from harness.records.ledger import read_ledger
from harness.records.records import EPOCH_FIELDS, EpochRecord, RunRecord, to_json
from harness.runs.identity import protocol_identity, run_identity
from harness.training.epochlog import EpochCsv, effective_rows
from tests.run_directories import other_value

OLD = Path(__file__).parent / "old_run"


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def said(*words, file):
    assert main([*map(str, words), "--json", str(file)]) == 0
    return json.loads(file.read_text())


def test_it_is_audited_as_before(run, tmp_path):
    old = json.loads((OLD / "audit.json").read_text())
    found = said("audit", run, file=tmp_path / "audit.json")
    for part in ("verdict", "broken_lines"):
        assert found[part] == old[part]
    for segment, judged in old["segments"].items():  # a later version may promise more
        now = found["segments"][segment]
        assert {name: now[name] for name in judged} == judged


def within(before, now):
    """Return what is said now of all that was said before: a later version may say more."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {key: within(value, now.get(key)) for key, value in before.items()}
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [within(*pair) for pair in zip(before, now, strict=True)]
    return now


def test_it_is_reported_as_before(run, tmp_path):
    out = tmp_path / "report.html"
    words = ("report", run, "--out", out, "--across-segments")
    found = said(*words, file=tmp_path / "report.json")
    before = json.loads((OLD / "report.json").read_text())
    assert within(before, found) == before


def test_what_was_recorded_has_the_same_identity_and_could_be_resumed():
    runs = [r for r in read_ledger(OLD / "ledger.jsonl").records if isinstance(r, RunRecord)]
    assert [(run.attempt, run.segment) for run in runs] == [(1, "main"), (2, "main"), (3, "wide")]
    for run in runs:
        config = parse_config(run.config)
        assert run_identity(config, run.data) == run.identity
        assert protocol_identity(config, run.data) == run.protocol
    tree = yaml.safe_load((OLD / "config.yaml").read_text())
    # What that version did not know has its default.
    tree["runtime"] |= {"tf32": False, "gpu_memory_mib": None, "require_gpu": False}
    tree["runtime"] |= {"score_on": "auto", "pictures": 2}
    tree["gate"] = {"required": []}
    tree["train"] |= {"multi_gpu_mode": "single_gpu", "gpu_devices": "0"}
    theirs = ("fc2_num_workers", "fc2_eval_num_workers", "eval_prefetch_batches")
    tree["data"] |= dict.fromkeys(theirs)
    assert yaml.safe_load(dump_config(load_config(OLD / "config.yaml"))) == tree
    assert parse_config(runs[-1].config) == load_config(OLD / "config.yaml")


def test_its_epoch_log_has_the_ledgers_rows_and_is_appended_to(run):
    rows = [r for r in read_ledger(run / "ledger.jsonl").effective() if isinstance(r, EpochRecord)]
    cells = effective_rows(run / "epochs.csv")
    assert [tuple(row) for row in cells] == [EPOCH_FIELDS] * 3
    told = [{k: "" if v is None else str(v) for k, v in to_json(row).items()} for row in rows]
    assert cells == [{name: row[name] for name in EPOCH_FIELDS} for row in told]
    before = (run / "epochs.csv").read_bytes()
    table = EpochCsv(run / "epochs.csv")
    assert table.absent == ()
    for row in rows:
        table(row)
    assert (run / "epochs.csv").read_bytes() == before


OPENING = (
    "batch_size", "micro_batch_size", "planned_sizes", "expected_clip_checks", "identity",
    "protocol", "data", "train_samples", "val_samples",
)  # fmt: skip


@pytest.mark.parametrize("field", OPENING)
def test_each_field_of_its_first_line_is_told_when_it_alone_is_changed(run, capsys, field):
    ledger = run / "ledger.jsonl"
    first, *rest = ledger.read_text().splitlines()
    opening = json.loads(first)
    ledger.write_text(
        "\n".join([json.dumps({**opening, field: other_value(opening[field])}), *rest])
    )
    assert main(["audit", str(run)]) == 1
    assert "[ledger-opening-follows]" in capsys.readouterr().out
