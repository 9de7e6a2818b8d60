"""What is written for others follows the schemas in docs/schemas/."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.config import Config
from harness.gate_file import GateFile
from harness.promises.judge import Judgement
from harness.promises.registry import AREA_OF, PROMISES
from harness.records.ledger import read_ledger
from harness.records.records import EPOCH_FIELDS, RECORDS, to_json
from harness.schemas import SCHEMAS
from harness.verdict import gate_result
from tests.synthetic_run import make_records

DOCS = Path(__file__).parents[1] / "docs"
OLD_RUN = Path(__file__).parent / "old_run"


def wrong(name, value):
    return [error.message for error in Draft202012Validator(SCHEMAS[name]).iter_errors(value)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_written_schema_is_the_one_that_the_code_declares(name):
    assert json.loads((DOCS / "schemas" / f"{name}.json").read_text()) == SCHEMAS[name]
    Draft202012Validator.check_schema(SCHEMAS[name])


def test_every_record_of_a_run_is_a_line_of_the_ledger():
    made = [json.loads(json.dumps(to_json(record, attempt=1))) for record in make_records()]
    assert {line["kind"] for line in made} == set(RECORDS) - {"resume", "note"}
    assert [wrong("ledger", line) for line in made] == [[]] * len(made)


def test_a_ledger_of_an_earlier_version_is_read_by_the_schema_too():
    path = OLD_RUN / "ledger.jsonl"
    # Lines that a kill has left half of hold no record.
    broken = {line.number for line in read_ledger(path).broken}
    lines = path.read_text().splitlines()
    whole = [line for number, line in enumerate(lines, start=1) if number not in broken]
    assert len(whole) > 1
    for line in whole:
        assert wrong("ledger", json.loads(line)) == []


@pytest.mark.parametrize(
    "change", [{"epoch": "one"}, {"kind": "other"}, {"more": 1}, {"lr": None}, {"attempt": 0}]
)
def test_a_line_of_another_shape_is_none(change):
    line = next(
        to_json(record, attempt=1) for record in make_records() if to_json(record)["kind"] == "step"
    )
    assert wrong("ledger", json.loads(json.dumps({**line, **change})))


def typed(name, cell):
    """Return a cell as its column declares it; an empty one is null."""
    kinds = str(SCHEMAS["epoch-log"]["properties"][name])
    if cell == "" and "null" in kinds:
        return None
    return int(cell) if "integer" in kinds else float(cell) if "number" in kinds else cell


def test_a_row_of_the_epoch_log_follows_by_column():
    assert tuple(SCHEMAS["epoch-log"]["properties"]) == EPOCH_FIELDS
    with (OLD_RUN / "epochs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        values = {name: typed(name, cell) for name, cell in row.items()}
        assert wrong("epoch-log", values) == []
        assert wrong("epoch-log", {**values, "lr": None})


def gate_file(**changes):
    judgements = [
        Judgement(PROMISES["eval-pure"], "holds", "12 arrays"),
        Judgement(PROMISES["metric-oracle"], "BROKEN", "a: expected b, found c", ("a", "b")),
    ]
    result = gate_result(judgements, areas=AREA_OF, unchecked=3)
    values = GateFile(
        verdict=result.verdict, version="0.1.0", when="2026-01-01T00:00:00+00:00", where="here",
        digests={"code": "x"}, required=("eval-pure",), system="adapter.py:X", gated={"name": "X"},
        tier="quick", configuration=None, environment={}, system_environment={},
        **result.results(), due=("eval-pure",),
    ).as_dict()  # fmt: skip
    return {**json.loads(json.dumps(values)), **changes}


def test_a_gate_file_follows_its_declaration():
    assert next(iter(gate_file())) == "format"
    assert gate_file()["roots"] == [
        {"id": "metric-oracle", "area": AREA_OF["metric-oracle"], "consequences": [], "blocked": []}
    ]
    assert wrong("gate-file", gate_file()) == []


@pytest.mark.parametrize(
    "change", [{"verdict": "fine"}, {"tier": "slow"}, {"relations": {"x": {}}}, {"more": 1}]
)
def test_a_gate_file_of_another_shape_is_none(change):
    assert wrong("gate-file", gate_file(**change))


def test_a_configuration_follows_its_schema():
    assert wrong("config", yaml.safe_load((OLD_RUN / "config.yaml").read_text())) == []
    assert wrong("config", Config().model_dump(mode="json", by_alias=True)) == []
    assert wrong("config", {"train": {"epoch_mode": "all"}})
    assert wrong("config", {"trian": {}})
