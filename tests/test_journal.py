"""The scores of a long evaluation are read back as they were written, or refused by their line."""

import json

import numpy as np
import pytest

from harness.errors import InputError
from harness.evaluation.journal import FileJournal
from harness.evaluation.recalibration import NonFiniteScoreError
from tests.chains import unchained

HEADER = {"scores": 2, "checkpoint_digest": "c" * 32, "environment": {"cpu": "a", "threads": 2}}
SIZES = (3, 2)
ARCHS = ((0, 1, 2) * 3, (1, 1, 2) * 3)


def scores(batch):
    return {arch: [1 / 3 + batch + i + n for i in range(SIZES[batch])] for n, arch in
            enumerate(ARCHS)}  # fmt: skip


def statistics(batch):
    values = np.linspace(0.1, 0.9, 4, dtype=np.float32) + np.float32(batch)
    return {("E0", (0, 1)): ((values, values * 2), (values[:1], values[1:2]))}


def entries():
    found = {("recal", 0, "00"): statistics(0), ("recal", 0, "01"): statistics(1)}
    return found | {("score", b, name): scores(b) for b in (0, 1) for name in ("00", "01")}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "space.scores.jsonl"
    with FileJournal(path, HEADER, samples=SIZES) as journal:
        for entry, found in entries().items():
            journal[entry] = found
    return path


def read(path, header=HEADER):
    with FileJournal(path, header, samples=SIZES) as journal:
        return dict(journal), journal.notes


def require_equal(found, expected):
    assert list(found) == list(expected)
    for entry, values in expected.items():
        assert found[entry].keys() == values.keys()
        for key, pairs in values.items():
            if entry[0] == "score":
                assert found[entry][key] == pairs
            else:
                assert all(np.array_equal(a, b) for one, other in zip(found[entry][key], pairs,
                           strict=True) for a, b in zip(one, other, strict=True))  # fmt: skip


def altered(lines, number, change):
    """Change what a line says, and nothing of how it is written."""
    line = json.loads(lines[number - 1])
    change(line)
    return [*lines[: number - 1], json.dumps(line, separators=(",", ":")), *lines[number:]]


def add_one(line):
    line["values"]["012012012"][1] += 1.0


def drop_sample(line):
    del line["values"]["012012012"][1]


CHANGES = {
    "1.0 added to a score": (lambda lines: altered(lines, 5, add_one), 5),
    "a sample dropped": (lambda lines: altered(lines, 5, drop_sample), 5),
    "a last bit": (lambda lines: [*lines[:4], lines[4].replace("333", "334", 1), *lines[5:]], 5),
    "a line left out": (lambda lines: [*lines[:3], *lines[4:]], 4),
    "a line said twice": (lambda lines: [*lines[:4], *lines[3:]], 5),
    "lines exchanged": (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], 4),
    "a digest taken away": (lambda lines: [*lines[:4], lines[4][:-44] + "}", *lines[5:]], 5),
    "the last digest taken away": (lambda lines: [*lines[:-1], lines[-1][:-44] + "}"], 7),
    "the header's taken away": (lambda lines: [lines[0][:-44] + "}", *lines[1:]], 2),
    "an empty line": (lambda lines: [*lines[:3], "", *lines[3:]], 4),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_finished_file_that_was_changed_is_refused_by_its_line(path, change):
    changed, number = CHANGES[change]
    path.write_text("\n".join([*changed(path.read_text().splitlines()), ""]))
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: line {number}: changed since it was written")
    assert text.isprintable()
    assert path.read_bytes() == before


def test_a_finished_file_is_read_as_it_was_written(path):
    before = path.read_bytes()
    found, notes = read(path)
    require_equal(found, entries())
    assert notes == ()
    assert path.read_bytes() == before


def test_what_a_kill_cut_short_is_said_and_written_again(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with FileJournal(path, HEADER, samples=SIZES) as journal:
        assert journal.notes == ("line 7 was cut short by a kill, and is computed again",)
        assert len(journal) == len(entries()) - 1
        journal["score", 1, "01"] = scores(1)
    assert path.read_bytes() == whole


def test_a_file_of_an_earlier_version_is_read_said_and_gone_on_with(path):
    unchained(path)
    old = path.read_bytes()
    found, notes = read(path)
    # Statistics may lack an array there that is asked for later, and nothing would tell.
    require_equal(found, {e: values for e, values in entries().items() if e[0] == "score"})
    assert notes == (
        "7 lines of an earlier version carry no digest: whether they were changed since is not "
        "known; what is missing is recalibrated anew",
    )
    assert path.read_bytes() == old
    with FileJournal(path, HEADER) as journal:
        journal["recal", 0, "00"] = statistics(0)
        journal["score", 2, "00"] = scores(0)
    assert path.read_bytes().startswith(old)
    with FileJournal(path, HEADER) as journal:
        assert [entry for entry in journal if entry[0] == "recal"] == [("recal", 0, "00")]
    # From then on the old lines are vouched for, too.
    path.write_text(path.read_text().replace("0.333", "0.433", 1))
    with pytest.raises(InputError, match="line 8: changed since it was written"):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_sample, "line 4: no record: batch 0, arch 012012012: expected 3 samples, found 2"),
        (
            lambda line: line["values"].update({"012012012": [1.0, 2.0, True]}),
            "a finite number, found True",
        ),
        (lambda line: line["values"].update({"012012012": [1.0, 2.0, None]}), "number, found None"),
        (lambda line: line["values"].update({"3" * 9: [1.0, 2.0, 3.0]}), "9 codes of 0, 1 or 2"),
        (lambda line: line.update(batch=7), "batch 7, arch 012012012: expected 0 samples"),
        (lambda line: line.update(batch="0"), "piece.batch: expected a whole number, found '0'"),
        (lambda line: line.update(phase="all"), "piece.phase: expected one of recal, score"),
        (lambda line: line.update(subtree="01"), "line 5: no record: .* stands there before"),
        (lambda line: line.update(more=1), "piece: 'more' is no field of it"),
        (lambda line: line.pop("values"), "piece: no values"),
    ],
)
def test_lines_without_digest_are_known_by_their_types(path, change, message):
    lines = unchained(path)
    path.write_text("\n".join([*altered(lines, 4, change), ""]))
    with pytest.raises(InputError, match=message):
        read(path)


def test_a_journal_that_is_gone_is_not_written_on(tmp_path):
    with FileJournal(tmp_path / "x.scores.jsonl", {"a": 1}) as journal:
        (tmp_path / "x.scores.jsonl").rename(tmp_path / "moved")
        with pytest.raises(InputError, match="is gone while it is written to"):
            journal["score", 0, "s"] = {(0,) * 9: [1.0]}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_statistics_that_are_no_numbers_are_named_and_not_kept(tmp_path, bad):
    path, found = tmp_path / "x.scores.jsonl", statistics(0)
    ((mean, variance), second) = found["E0", (0, 1)]
    worse = {("E0", (0, 1)): ((mean, variance * np.float32(bad)), second)}
    message = "subtree 00, batch 1: recalibrated statistics of E0 are not finite"
    with FileJournal(path, HEADER) as journal:
        journal["recal", 0, "00"] = found
        with pytest.raises(NonFiniteScoreError, match=message):
            journal["recal", 1, "00"] = worse
    with FileJournal(path, HEADER) as journal:
        assert list(journal) == [("recal", 0, "00")]
