"""Training records pictures of what it scored, and no bit of the run follows from them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.config import Config, with_overrides
from harness.environment import apply_environment
from harness.fc2.crop import Window, cut
from harness.fc2.decode import decode_triplet
from harness.fc2.errors import SampleError
from harness.fc2.layout import list_triplets
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import matrix_config
from harness.records.ledger import Ledger
from harness.records.picture_files import PictureReader
from harness.records.picture_images import LEVELS
from harness.records.records import EvalRecord
from harness.training.checkpoint import CheckpointStore
from tests.run_directories import records, require_equal
from tests.training_runs import Crash, cache, train

__all__ = ["cache"]

pytestmark = pytest.mark.slow

FEW = (
    "eval.eval_pool_size=3", "train.num_epochs=2", "eval.eval_batches_per_arch=2",
    "eval.batch_size=2", "eval.bn_recal_batches=1", "train.batch_size=5", "runtime.pictures=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "fc2", train=7, val=5, height=19, width=37)
    found = with_overrides(matrix_config(folder / "fc2"), FEW)
    apply_environment(found)
    return found


def trained(config: Config, folder: Path, cache: Any, *changes: str, **options: Any) -> Path:
    found = with_overrides(config, list(changes))
    assert train(found, folder, cache, **options).status == "finished"
    return folder


@pytest.fixture(scope="module", params=["host", "device"])
def runs(
    request: pytest.FixtureRequest, config: Config, cache: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:  # fmt: skip
    """Return a run with pictures and one without, scored in one way."""
    folder, where = tmp_path_factory.mktemp("runs"), f"runtime.score_on={request.param}"
    found = [
        trained(config, folder / name, cache, where, f"runtime.pictures={count}")
        for name, count in (("with", 2), ("without", 0))
    ]
    return found[0], found[1]


def test_no_bit_of_a_run_follows_from_its_pictures(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_them, without = runs
    names = sorted(path.name for path in (with_them / "pictures").iterdir())
    assert names[:2] == ["epoch-0001.json", "epoch-0002.json"]
    assert not (without / "pictures").exists()
    loaded = CheckpointStore.load

    def load(self: CheckpointStore, *args: Any) -> Any:
        found = loaded(self, *args)
        found.meta["config"]["runtime"].pop("pictures")  # which is all that differs
        return found

    monkeypatch.setattr(CheckpointStore, "load", load)
    require_equal(with_them, without)


def test_each_picture_is_of_what_was_scored(runs: tuple[Path, Path], config: Config) -> None:
    run, read = runs[0], PictureReader(runs[0] / "pictures")
    triplets = {one.id: one for one in list_triplets(config.data.split_dir("val"))}
    for record in records(run, EvalRecord):
        found = read(record.epoch)
        scores = dict(zip(record.archs, record.per_arch_epe, strict=True))
        assert found.best_arch.epe == min(scores.values()) == scores[found.best_arch.name]
        assert found.worst_arch.epe == max(scores.values()) == scores[found.worst_arch.name]
        assert [found.samples[key].id for key in found.frozen] == sorted(triplets)[:2]
        assert found.best_sample.epe <= found.worst_sample.epe
        for key, sample in found.samples.items():
            decoded = decode_triplet(triplets[sample.id])
            (top, left), (height, width) = sample.place, sample.valid.shape
            window = np.s_[top : top + height, left : left + width]
            assert np.array_equal(sample.valid, decoded.valid[window])
            assert np.abs(sample.flow - decoded.flow[window]).max() <= sample.longest / LEVELS
            assert np.abs(sample.frames.astype(int) - decoded.frames).mean() < 12
            for one in found.predicted(key):
                off = np.hypot(*np.moveaxis(one.flow - sample.flow, -1, 0))[sample.valid].mean()
                assert abs(off - one.epe) < 0.03


def test_a_report_shows_every_evaluation_of_it(runs: tuple[Path, Path], tmp_path: Path) -> None:
    page, told = tmp_path / "r.html", tmp_path / "r.json"
    assert main(["report", str(runs[0]), "--out", str(page), "--json", str(told)]) == 0
    (found,) = json.loads(told.read_text())["pictures"]
    assert (found["epochs"], found["notes"]) == ([1, 2], [])


def test_tensorboard_has_images_by_steps(runs: tuple[Path, Path], config: Config) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is an extra"
    )
    events = accumulator.EventAccumulator(str(runs[0] / "tensorboard")).Reload()
    tags = {tag for tag in events.Tags()["tensors"] if tag.startswith("pictures/")}
    assert tags == {
        f"pictures/{sample}/{kind}"
        for sample in ("1000000", "1000001")
        for kind in ("predicted", "error", "true")
    }
    for tag in tags:
        steps = [event.step for event in events.Tensors(tag)]
        assert steps == ([2] if tag.endswith("true") else [2, 4])
        width, height, image = events.Tensors(tag)[0].tensor_proto.string_val
        assert (int(height), int(width)) == config.eval_crop
        assert image.startswith(b"\x89PNG")


def test_an_evaluation_that_a_kill_cut_is_made_again_and_its_file_replaced(
    config: Config, cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = trained(config, tmp_path / "straight", cache)
    run, real, cut = tmp_path / "cut", Ledger.__call__, []

    def crash(self: Ledger, record: Any) -> None:
        if isinstance(record, EvalRecord) and record.epoch == 2 and not cut:
            cut.append((run / "pictures" / "epoch-0002.json").read_bytes())
            raise Crash
        real(self, record)

    monkeypatch.setattr(Ledger, "__call__", crash)
    with pytest.raises(Crash):
        trained(config, run, cache)
    # A kill within a write leaves an aside, and here a file that a hand has changed besides.
    (run / "pictures" / "epoch-0002.json").write_bytes(cut[0][:100])
    trained(config, run, cache, resume=True)
    require_equal(run, straight)
    files = [{path.name: path.read_bytes() for path in (one / "pictures").iterdir()}
             for one in (run, straight)]  # fmt: skip
    assert files[0] == files[1]


def test_another_number_of_samples_goes_on_with_the_same_run(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trained(config, run, cache, "runtime.pictures=1", until=1)
    trained(config, run, cache, "runtime.pictures=3", resume=True)
    read = PictureReader(run / "pictures")
    assert [len(read(epoch).frozen) for epoch in (1, 2)] == [1, 3]
    page = tmp_path / "r.html"
    assert main(["report", str(run), "--out", str(page)]) == 0


def test_a_device_without_memory_for_pictures_trains_all_the_same(
    config: Config, cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from harness.evaluation import pictures

    def full(*args: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(pictures, "take_pictures", full)
    trained(config, tmp_path / "run", cache)
    said = [line for line in capsys.readouterr().out.splitlines() if "no pictures" in line]
    assert len(said) == 1
    assert "the run goes on: out of memory" in said[0]


def test_a_pool_of_one_scored_on_one_sample_is_one_picture(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    few = ("eval.eval_pool_size=1", "eval.batch_size=1", "eval.eval_batches_per_arch=1",
           "train.num_epochs=1")  # fmt: skip
    run = trained(config, tmp_path / "run", cache, *few)
    found = PictureReader(run / "pictures")(1)
    assert found.best_arch == found.worst_arch
    assert found.best_sample == found.worst_sample
    assert found.frozen == (found.best_sample.name,)
    assert [one.epe for one in found.flows] == [found.best_sample.epe]
    page = tmp_path / "r.html"
    assert main(["report", str(run), "--out", str(page)]) == 0
    assert "only arch: EPE" in page.read_text()
    assert "is not shown" not in page.read_text()


def test_frames_are_whole_where_their_window_is_what_was_scored(config: Config) -> None:
    from harness.evaluation.pictures import _around
    from harness.runs.pictures import _whole_frames

    triplet = list_triplets(config.data.split_dir("val"))[1]
    whole = decode_triplet(triplet).frames
    window = Window(2, 5, 16, 24)
    own = cut(whole, window)
    frames, place = _around(own, window, whole)
    assert frames is whole
    assert place == (2, 5)
    for other in (None, whole + 1):
        frames, place = _around(own, window, other)
        assert place is None
        assert frames is own

    def session(decode: Any) -> Any:
        parts = SimpleNamespace(data=SimpleNamespace(decode=decode))
        return SimpleNamespace(fixed=SimpleNamespace(samples=lambda _: (triplet,)), parts=parts)

    def gone(_: Any) -> Any:
        raise SampleError(triplet.img_0, "a file", "none")

    found = _whole_frames(session(decode_triplet), triplet.id)
    assert found is not None
    assert np.array_equal(found, whole)
    assert _whole_frames(session(decode_triplet), "another") is None
    assert _whole_frames(session(gone), triplet.id) is None
