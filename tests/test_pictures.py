"""Pictures are read back as they were written, or told; a page shows them for a bounded size."""

import errno
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli import main
from harness.records import picture_files as files
from harness.records.picture_files import PictureReader, PictureWriter
from harness.records.picture_images import LEVELS, flow_from_text, flow_text
from harness.records.pictures import Scored
from harness.records.records import EvalRecord
from harness.reporting.pictured import MOST_EPOCHS, evenly, pictured
from harness.runs.pictures import PictureRecorder
from harness.sealed import read_sealed, sealed_values
from tests.picture_runs import FRAME, PLACE, SIZE, picture_sample, pictures_of, write_pictures
from tests.report_runs import course, write

COURSE = course(epochs=3)
SCORES = [record for record in COURSE if isinstance(record, EvalRecord)]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    write(folder, COURSE)
    write_pictures(folder, COURSE)
    return folder


def reported(run, *words, code=0):
    out = run.parent / "r.html"
    file = run.parent / "r.json"
    assert main(["report", str(run), "--out", str(out), "--json", str(file), *words]) == code
    return out.read_text(), json.loads(file.read_text())["pictures"]


def changed(path, change):
    """Change a file by somebody who knows how it is sealed."""
    values, _ = read_sealed(path)
    path.write_text(json.dumps(sealed_values(change(values) or values)))


@given(longest=st.sampled_from([0.0, 1e-30, 0.3, 40.0, 600.0, 1e30]), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_a_flow_is_read_back_to_half_a_step(longest, seed):
    rng = np.random.default_rng(seed)
    flow = (longest * rng.uniform(-1, 1, (5, 7, 2))).astype(np.float32)
    known = rng.random((5, 7)) > 0.5
    step, text = flow_text(flow, known)
    found, valid = flow_from_text(text, step, (5, 7), label=True)
    assert np.abs(found - flow).max() <= step / 2 * (1 + 1e-6)
    assert step * LEVELS < 2 * (np.abs(flow).max() or 1)
    assert np.array_equal(valid, known)


def test_what_is_not_finite_is_shown_as_no_motion():
    flow = np.full((4, 6, 2), 3.0, np.float32)
    flow[0, 0] = np.nan, np.inf
    step, text = flow_text(flow)
    found, _ = flow_from_text(text, step, (4, 6), label=False)
    assert found[0, 0].tolist() == [0, 0]
    assert (found[1:] == 3).all()


def test_pictures_are_read_back_as_they_were_written(run):
    found, told = PictureReader(run / "pictures")(2), pictures_of(SCORES[1])
    for name in ("epoch", "weights", "batches", "best_arch", "worst_arch", "frozen",
                 "best_sample", "worst_sample"):  # fmt: skip
        assert getattr(found, name) == getattr(told, name)
    assert found.samples.keys() == told.samples.keys()
    for key, sample in told.samples.items():
        there = found.samples[key]
        assert (there.id, there.place) == (sample.id, PLACE)
        assert there.frames.shape == (*FRAME, 6)
        # JPEG; colours exchanged or frames mixed up would be far off.
        assert np.abs(there.frames.astype(int) - sample.frames).mean() < 4
        assert np.array_equal(there.valid, sample.valid)
    for one, other in zip(found.flows, told.flows, strict=True):
        assert (one.sample, one.arch, one.epe) == (other.sample, other.arch, other.epe)
        assert np.abs(one.flow - other.flow).max() <= np.abs(other.flow).max() / LEVELS


def test_an_evaluation_made_again_takes_the_place_of_its_file_and_keeps_samples(run):
    folder = run / "pictures"
    before = sorted(path.name for path in folder.iterdir())
    write = PictureWriter(folder)
    again = pictures_of(SCORES[1])
    write(replace(again, best_sample=Scored(again.best_sample.name, 0)))
    assert sorted(path.name for path in folder.iterdir()) == before
    assert PictureReader(folder)(2).best_sample.epe == 0


def rounded_away(values):
    values["flows"][0]["epe"] += 0.5


def other_weights(values):
    values["weights"] = "0" * 32


def other_score(values):
    values["best_arch"]["epe"] += 1e-9


def out_of_the_folder(values):
    values["frozen"][0] = "../../etc/passwd"


def of_another_epoch(values):
    values["epoch"] = 3


def no_flow(values):
    values["flows"].pop()


def no_image(values):
    values["flows"][0]["flow"] = "AAAA"


def another_image(values):
    values["flows"][0]["flow"] = flow_text(np.zeros((3, 5, 2), np.float32))[1]


def no_step(values):
    values["flows"][0]["step"] = 0


def a_text(values):
    values["epoch"] = "2"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rounded_away, "px is told of it"),
        (other_weights, "is of another evaluation than the ledger's of this epoch"),
        (other_score, "is not what the ledger says"),
        (out_of_the_folder, "a sample's key is '../../etc/passwd', expected a digest"),
        (of_another_epoch, "is of epoch 3"),
        (no_flow, "not every picture is there, or another"),
        (no_image, "a picture is no PNG"),
        (another_image, "expected a flow of 2 planes of 24 x 40 px, found 6 x 5"),
        (no_step, "a step of 0 px"),
        (a_text, "the file.epoch: expected a whole number, found '2'"),
    ],
)
def test_what_does_not_fit_the_ledger_or_itself_is_told_and_not_shown(run, change, said):
    changed(run / "pictures" / "epoch-0002.json", change)
    found = pictured("a", run, SCORES)
    assert [one.epoch for one in found.epochs] == [1, 3]
    (note,) = found.notes
    assert note.startswith("epoch 2 is not shown: pictures")
    assert said in note
    assert len(note.splitlines()) == 1


def test_a_page_and_its_command_say_what_is_not_shown(run, capsys):
    (run / "pictures" / "epoch-0002.json").write_text("{}")
    page, (told,) = reported(run)
    assert (told["epochs"], told["recorded"]) == ([1, 3], 3)
    assert "2 of 3 evaluations with pictures" in page
    line = "epoch 2 is not shown: pictures/epoch-0002.json: it carries no seal"
    assert f"Warning: {line}." in page
    assert f"warning: a: {line}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'{"seal": "x"}', b"[" * 10_000],
    ids=lambda content: repr(content[:6]),
)
@pytest.mark.parametrize("name", ["epoch-0002.json", "sample"])
def test_a_damaged_file_is_told_and_the_others_are_shown(run, content, name):
    folder = run / "pictures"
    own = sorted(folder.glob("sample-*"))
    path = own[0] if name == "sample" else folder / name
    path.write_bytes(content)
    found = pictured("a", run, SCORES)
    shown = [one.epoch for one in found.epochs]
    assert name == "sample" or shown == [1, 3]
    assert len(shown) + len(found.notes) == 3
    assert found.notes
    assert all(path.name in note for note in found.notes)


def test_each_byte_that_is_changed_is_noticed(run):
    path = run / "pictures" / "epoch-0002.json"
    whole = path.read_bytes()
    for place in range(0, len(whole) - 1, len(whole) // 15):
        other = bytes([whole[place] ^ 1])
        path.write_bytes(whole[:place] + other + whole[place + 1 :])
        found = pictured("a", run, SCORES)
        assert [one.epoch for one in found.epochs] == [1, 3], (place, other)
        assert len(found.notes) == 1


@given(count=st.integers(1, 500), most=st.integers(2, 40))
def test_evaluations_are_chosen_evenly_with_the_first_and_the_last(count, most):
    values = list(range(count))
    found = evenly(values, most)
    assert len(found) == min(count, most)
    assert (found[0], found[-1]) == (values[0], values[-1])
    gaps = np.diff(found)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


@pytest.mark.slow
def test_a_page_says_which_evaluations_it_shows_and_holds_no_more_than_it_may(tmp_path):
    many = course(epochs=60)
    folder = write(tmp_path, many)
    write_pictures(folder, many)
    page, (told,) = reported(folder)
    assert len(told["epochs"]) == MOST_EPOCHS
    assert (told["epochs"][0], told["epochs"][-1], told["recorded"]) == (1, 60, 60)
    shown = ", ".join(map(str, told["epochs"]))
    told = f"{MOST_EPOCHS} of 60 evaluations with pictures, evenly chosen: after epoch {shown}."
    assert told in page
    found = pictured("a", folder, [one for one in many if isinstance(one, EvalRecord)])
    fewer = found.within(found.size // 2)
    assert fewer.size <= found.size // 2
    assert (fewer.epochs[0], fewer.epochs[-1]) == (found.epochs[0], found.epochs[-1])
    assert len(found.within(1).epochs) == 2


def test_without_a_script_the_last_evaluation_is_shown_and_no_other(run):
    page, _ = reported(run)
    parts = re.findall(r'data-at="([\d ]+)"( hidden)?', page)
    assert {bool(hidden) for at, hidden in parts if "3" in at.split()} == {False}
    assert {bool(hidden) for at, hidden in parts if "3" not in at.split()} == {True}
    assert '<div class="scrub" hidden>' in page
    assert "; img-src data:" in page
    left, top = (f"{name}: {100 * at / side:.4f}%" for name, at, side in
                 zip(("left", "top"), PLACE[::-1], FRAME[::-1], strict=True))  # fmt: skip
    assert left in page
    assert top in page


@pytest.mark.slow
def test_a_run_without_pictures_reports_as_before_and_so_does_no_pictures(run):
    with_them, _ = reported(run)
    without, told = reported(run, "--no-pictures")
    for path in (run / "pictures").iterdir():
        path.unlink()
    (run / "pictures").rmdir()
    none, also = reported(run)
    assert told == also == []
    assert none.replace("--no-pictures", "") == without.replace(" --no-pictures", "")
    for page in (none, without):
        assert "What it predicts" not in page
        assert "img-src" not in page
    assert "What it predicts" in with_them


def test_a_window_alone_is_shown_where_the_whole_frames_are_not_known(tmp_path):
    folder = write(tmp_path, COURSE)
    write_pictures(folder, COURSE, place=None)
    page, _ = reported(folder)
    assert "all that is known of its frames" in page
    assert 'class="window"' not in page
    assert PictureReader(folder / "pictures")(1).samples[
        picture_sample(0, place=None).key
    ].frames.shape == (*SIZE, 6)


@pytest.mark.parametrize("blocked", ["a file", "protected"])
def test_pictures_that_cannot_be_written_are_said_once_and_stop_nothing(tmp_path, capsys, blocked):
    folder = tmp_path / "pictures"
    if blocked == "a file":
        folder.write_text("mine")
    elif os.geteuid() == 0:
        folder.mkdir()
        (folder / "epoch-0001.json").mkdir()
        (folder / "epoch-0002.json").mkdir()
    else:
        folder.mkdir(mode=0o500)
    recorder = PictureRecorder(tmp_path)
    for record in SCORES[:2]:
        recorder.pictured(pictures_of(record))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("note: no pictures of epoch 1, the run goes on: ")
    assert str(folder) in line


def test_a_full_disk_is_said_once_and_later_pictures_are_kept(tmp_path, capsys, monkeypatch):
    real = files.write_text

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_text", full)
    recorder = PictureRecorder(tmp_path)
    for record in SCORES[:2]:
        recorder.pictured(pictures_of(record))
    monkeypatch.setattr(files, "write_text", real)
    recorder.pictured(pictures_of(SCORES[2]))
    assert len(capsys.readouterr().out.splitlines()) == 1
    read = PictureReader(tmp_path / "pictures")
    assert [read.has(epoch) for epoch in (1, 2, 3)] == [False, False, True]
    assert read(3).epoch == 3
