"""A sound ledger of as many epochs as are asked for, written at once and chained as a run's."""

import json
from pathlib import Path

from harness.records.ledger import Ledger
from harness.records.records import to_json
from tests.synthetic_run import make_records


def write_long_ledger(folder: Path, epochs: int) -> Path:
    """Write ``ledger.jsonl`` of three steps an epoch, each epoch evaluated and saved."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not to the system line by line, which takes as long as all the rest.
    ledger = Ledger(folder / "ledger.jsonl", write=lambda file, line, sync: file.write(line + "\n"))
    patient = {"early_stop_patience": 10 * epochs}
    for record in make_records(epochs=epochs, train={"num_epochs": epochs}, eval=patient):
        ledger(record)
    ledger.close()
    return folder


def write_unchained(folder: Path, epochs: int) -> Path:
    """Write the same as a ledger of an earlier version, whose lines carry no digest."""
    folder.mkdir(parents=True, exist_ok=True)
    patient = {"early_stop_patience": 10 * epochs}
    records = make_records(epochs=epochs, train={"num_epochs": epochs}, eval=patient)
    lines = (json.dumps(to_json(record, attempt=1), separators=(",", ":")) for record in records)
    (folder / "ledger.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder
