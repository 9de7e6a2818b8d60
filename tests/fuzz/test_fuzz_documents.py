"""What a run, a gate or a person wrote as text: refused by name, or what the whole file says."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import InputError
from harness.evaluation.pool_file import read_pool
from harness.faults.power_file import Planted, Power, read_power
from harness.faults.results import read_finished
from harness.fc2.frozen import FORMAT, read_frozen
from harness.require_gate import FORMAT as GATE_FORMAT
from harness.require_gate import GateError, require_gate
from harness.require_gate import seal_of as gate_seal
from harness.sealed import read_sealed, sealed_values
from harness.training.checkpoint import CheckpointStore, load_checkpoint
from harness.training.epoch_table import told_otherwise
from harness.training.epochlog import EpochCsv, effective_rows
from tests.fuzz.fuzzing import CHEAP, OTHERS, counts, replay, run_cases, seed
from tests.fuzz.mutators import BYTES, CSV, JSON, LINES, one_of
from tests.test_epoch_table import ROWS
from tests.test_pool_file import LISTS

DOCUMENT = one_of(*BYTES, *JSON, *JSON)
TABLE = one_of(*BYTES, *LINES, *CSV, *CSV)


@dataclass(frozen=True)
class Reader:
    """A file, how it is read, and what of it must be as in the whole one."""

    path: Path
    read: Any
    expected: tuple[type[Exception], ...] = (InputError,)
    named: str | None = None

    def __call__(self, name, content):
        self.path.write_bytes(content)
        return self.read(self.path)


def try_all(of, reader, count, mutate=DOCUMENT, judge=None):
    content = reader.path.read_bytes()
    whole = reader.read(reader.path)

    def same(name, found):
        return None if found == whole else f"other values: {found!r}"

    run_cases(
        of, originals={of: content}, mutate=mutate, read=reader, judge=judge or same, count=count,
        seed=seed(), expected=reader.expected,
        named=lambda _: str(reader.path) if reader.named is None else reader.named,
    ).require_clean()  # fmt: skip
    reader.path.write_bytes(content)


def what_a_checkpoint_says(folder):
    found = load_checkpoint(folder)
    arrays = {name: array.tobytes() for name, array in found.arrays.items()}
    return arrays, repr(found.progress), repr(found.meta), found.digest


@counts(OTHERS)
def test_a_manifest_is_what_was_saved_or_refused(count, tmp_path):
    store = CheckpointStore(tmp_path)
    progress = {"epoch": 1, "step": 0, "counts": [[1, 1, 1]], "row": {"epoch": 1, "lr": 1 / 3}}
    meta = {"config": {"train": {"lr": 1e-4}}, "environment": {"cpu": "x"}, "segment": "main"}
    store.save("one", {"E0/kernel": np.arange(6, dtype=np.float32)}, progress, meta)
    path = tmp_path / "one" / "manifest.json"
    reader = Reader(path, lambda path: what_a_checkpoint_says(path.parent), named="one")
    try_all("manifest", reader, count)


@counts(OTHERS)
def test_a_pointer_names_what_was_saved_or_is_refused(count, tmp_path):
    store = CheckpointStore(tmp_path)
    store.save("epoch-0001-step-00000-attempt-1", {"a": np.zeros(2)}, {"epoch": 1}, {})
    reader = Reader(tmp_path / "last", lambda _: store.load("last").digest, named=str(tmp_path))
    try_all("pointer", reader, count, mutate=one_of(*BYTES))


def what_a_pool_file_says(content):
    """Read a pool in another way than the project does: types and values by hand."""
    value = json.loads(content.decode("utf-8-sig"))
    if isinstance(value, dict):
        (value,) = (value[name] for name in ("pool", "archs") if name in value)
    archs = []
    for one in value:
        codes = [c for c in one if c not in " ,;-"] if isinstance(one, str) else one
        assert len(codes) == 9
        assert all(str(c) in ("0", "1", "2") for c in codes)
        assert all(type(c) is (str if isinstance(one, str) else int) for c in codes)
        archs.append(tuple(map(int, codes)))
    assert len(set(archs)) == len(archs) > 0
    return tuple(archs)


def as_the_file_says(path):
    def judge(name, found):
        try:
            due = what_a_pool_file_says(path.read_bytes())
        except (AssertionError, ValueError, TypeError, KeyError) as error:
            return f"is no pool ({error!r}) and was read as {found}"
        return None if found == due else f"{found} instead of {due}"

    return judge


@pytest.mark.parametrize("form", ["lists", "texts", "edgeflownas"])
@counts(CHEAP)
def test_a_pool_is_what_its_file_says_or_refused(count, form, tmp_path):
    path = tmp_path / "pool.json"
    texts = ["012012012", "222222222", "100210021"]
    content = {"lists": LISTS, "texts": {"archs": texts}, "edgeflownas": {"pool": LISTS, "seed": 1}}
    path.write_text(json.dumps(content[form]))

    try_all(f"pool-{form}", Reader(path, read_pool), count, judge=as_the_file_says(path))
    replay("pool", read=Reader(path, read_pool), judge=as_the_file_says(path)).require_clean()


def is_equal_number(one, other):
    try:
        return float(one) == float(other)
    except ValueError:
        return False


@counts(CHEAP)
def test_an_epoch_table_is_what_was_written_told_or_refused(count, tmp_path):
    path = tmp_path / "epochs.csv"
    table = EpochCsv(path)
    for record in ROWS:
        table(record)
    whole = effective_rows(path)

    def judge(name, found):
        # A row that is missing or says something else is told, but for the last.
        told = list(told_otherwise(found, ROWS, ROWS))
        same = len(found) in (len(whole) - 1, len(whole)) and all(
            cell == due[name] or is_equal_number(cell, due[name])
            for row, due in zip(found, whole, strict=False)
            for name, cell in row.items()
        )
        return None if told or same else f"other values: {found}"

    reader = Reader(path, effective_rows)
    try_all("epochs", reader, count, mutate=TABLE, judge=judge)
    replay("epochs", read=reader, judge=judge, named=lambda _: str(path)).require_clean()


@counts(OTHERS)
def test_a_gate_file_is_what_was_written_or_refused(count, tmp_path):
    path = tmp_path / "gate.json"
    gate = {
        "format": GATE_FORMAT, "verdict": "green", "system": "mine.py:Mine", "tier": "quick",
        "relations": {"a": {"verdict": "holds"}, "b": {"verdict": "n/a"}}, "known_defects": {},
        "digests": {"declarations": "d"}, "required": [], "due": ["a", "b"],
    }  # fmt: skip
    path.write_text(json.dumps({**gate, "seal": gate_seal(gate)}))
    reader = Reader(path, require_gate, (GateError,))
    try_all("gate", reader, count)
    refused = replay(
        "gate", read=reader, judge=lambda *_: "a gate", expected=(GateError,),
        named=lambda _: str(path),
    )  # fmt: skip
    refused.require_clean()


def unless_told(whole, read):
    """Read a file that says aloud where it carries no digest: then what it holds may be another."""

    def reader(path):
        told = []
        found = read(path, told.append)
        return whole if told else found

    return reader


@counts(OTHERS)
def test_the_power_of_a_gate_is_what_was_written_told_or_refused(count, tmp_path):
    path = tmp_path / "power.json"
    planted = (Planted("f", "what", "who#1", "noticed", {"a": "where"}, "", 3, 1.5),)
    power = Power({"system": "x"}, ("a",), {}, {"b": "no"}, planted, ("f", "g"))
    path.write_text(json.dumps(power.as_dict()))
    try_all("power", Reader(path, unless_told(power, read_power)), count)


@counts(OTHERS)
def test_results_of_a_matrix_are_what_was_written_told_or_refused(count, tmp_path):
    path = tmp_path / "matrix.json"
    result = {
        "id": "f", "family": "GRAD", "citation": "c", "expected": ["a"], "fired": ["a"],
        "survived": [], "where": {"a": "x"}, "violations": {"a": ["x"]}, "not_applicable": {},
        "checked": ["a"], "tier": "quick", "mode": "full_pass", "seconds": 1.25, "key": "k",
    }  # fmt: skip
    values = {"made_by": {"code": "c"}, "results": [result], "clean_results": [], "seconds": 2.0}
    path.write_text(json.dumps(sealed_values(values)))
    read = unless_told({"k": result}, lambda path, tell: read_finished(path, {"code": "c"}, tell))
    try_all("results", Reader(path, read), count)


@counts(CHEAP)
def test_a_sealed_file_is_what_was_written_or_refused(count, tmp_path):
    path = tmp_path / "study.json"
    path.write_text(json.dumps(sealed_values({"start": 2, "segment": None, "threshold": 1 / 3})))

    def read(path):
        values, sealed = read_sealed(path)
        # Without its seal it is a file of an earlier version, whose reader checks its types.
        return values if sealed else {"start": 2, "segment": None, "threshold": 1 / 3}

    try_all("sealed", Reader(path, read, (ValueError, OSError), named=""), count)


@counts(OTHERS)
def test_counters_beside_a_checkpoint_of_edgeflownas_are_as_written_or_told(count, tmp_path):
    """The file carries no digest: what is read of it goes into that of the checkpoint."""
    from harness.training.checkpoint import state_digest
    from harness.training.importing import read_counters

    path = tmp_path / "supernet_last.ckpt.meta.json"
    blocks = {str(block): {str(option): 7 for option in range(3)} for block in range(9)}
    meta = {
        "checkpoint_path": "x", "epoch": 2, "metric": 5.25, "global_step": 7, "best_metric": 5.0,
        "bad_epochs": 0, "fairness_counts": blocks, "extra": {"lr": 1e-4},
    }  # fmt: skip
    path.write_text(json.dumps(meta))
    whole = read_counters(path)
    digest = state_digest({}, whole.get_state())

    def judge(name, found):
        return None if found == whole or state_digest({}, found.get_state()) != digest else "hidden"

    try_all("edgeflownas-meta", Reader(path, read_counters), count, judge=judge)


def what_frozen_batches_say(path):
    found = read_frozen(path)
    groups = found.eval_batches, found.recal_batches
    return repr([(b.digest, b.ids, b.windows, b.flow_clip) for group in groups for b in group])


@counts(OTHERS)
def test_a_header_of_frozen_batches_is_what_was_frozen_or_refused(count, tmp_path):
    from tests.test_frozen import frozen, write_frozen

    path = tmp_path / "frozen.npz"
    write_frozen(path, frozen())
    with np.load(path) as archive:
        arrays = dict(archive)
    whole = what_frozen_batches_say(path)
    header = tmp_path / "header.json"
    header.write_bytes(arrays["header"].tobytes())
    assert json.loads(header.read_bytes())["format"] == FORMAT

    def read(header):
        text = np.frombuffer(header.read_bytes(), np.uint8)
        np.savez(path, **{**arrays, "header": text})
        return what_frozen_batches_say(path)

    try_all(
        "frozen-header", Reader(header, read, named=str(path)), count,
        judge=lambda _, found: None if found == whole else "other batches",
    )  # fmt: skip
