"""Parts between files and a step do what they say, and each fault of theirs is seen to act."""

import hashlib
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from harness.evaluation.evaluator import Protocol
from harness.faults import handling
from harness.fc2.batch import batch_key, pixel_digests
from harness.fc2.cache import BatchCache
from harness.fc2.layout import list_triplets
from harness.fc2.provider import Provider, hand_over
from harness.fc2.synthetic import write_dataset
from harness.records.ledger import Ledger, read_ledger
from harness.records.records import NoteRecord
from harness.runs.parts import Parts
from harness.training.progress import EpochSums, Progress

SOUND = Parts()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Return 8 samples of 17 x 23 px: batches of 3, 3 and 2."""
    folder = tmp_path_factory.mktemp("handling")
    write_dataset(folder, train=8, val=1, height=17, width=23)
    return list_triplets(folder / "train")


def streamed(samples, parts, epochs=(1, 2)):
    provider = Provider(samples, "train", (8, 16), 3, 5.0, seed=3, parts=parts.data)
    found = []
    for epoch in epochs:
        with closing(provider.stream(epoch)) as batches:
            found += batches
    return found


def broken(fault):
    return fault().apply(Parts())


def differing(found, right):
    """Return the places of batches whose pixels or labels differ, and of those whose digests do."""
    pixels = [
        i for i, (a, b) in enumerate(zip(found, right, strict=True))
        if not (np.array_equal(a.frames, b.frames) and np.array_equal(a.flow, b.flow))
    ]  # fmt: skip
    digests = [i for i, (a, b) in enumerate(zip(found, right, strict=True)) if a.digest != b.digest]
    return pixels, digests


def test_batches_are_handed_over_as_they_come():
    batches = iter(())
    assert hand_over(batches, epoch=1, start=0) is batches


def test_the_digest_of_pixels_is_what_a_stranger_computes(samples):
    batch = streamed(samples, SOUND)[2]
    found = pixel_digests(batch.frames, batch.flow, batch.valid)
    assert found == tuple(
        hashlib.blake2b(f.tobytes() + w.tobytes() + v.tobytes(), digest_size=16).hexdigest()
        for f, w, v in zip(batch.frames, batch.flow, batch.valid, strict=True)
    )
    assert len(set(found)) == 2
    moved = batch.flow.copy()
    moved[1, 0, 0, 1] += 1
    other = pixel_digests(batch.frames, moved, batch.valid)
    assert [a == b for a, b in zip(found, other, strict=True)] == [True, False]


def test_an_overwritten_buffer_has_other_pixels_under_the_same_digest(samples):
    found = streamed(samples, broken(handling.BufferOverwritten))
    assert differing(found, streamed(samples, SOUND)) == ([0, 1, 3, 4], [])


def test_a_batch_comes_again_at_the_border_of_epochs(samples):
    found, right = (
        streamed(samples, broken(handling.BatchRepeatedAtBorder)),
        streamed(samples, SOUND),
    )
    assert differing(found, right) == ([3], [3])
    assert found[3].ids == right[2].ids


def test_the_last_label_is_its_neighbours_in_the_partial_batch_alone(samples):
    found, right = (
        streamed(samples, broken(handling.LastLabelOfNeighbour)),
        streamed(samples, SOUND),
    )
    assert differing(found, right) == ([2, 5], [])
    assert [np.array_equal(a, b) for a, b in zip(found[2].flow, right[2].flow, strict=True)] == [
        True, False,
    ]  # fmt: skip
    assert np.array_equal(found[2].frames, right[2].frames)


def test_labels_lag_where_batches_are_of_one_size(samples):
    used, step = [], broken(handling.LabelsLagABatch).train.step
    right = streamed(samples, SOUND)
    for batch in right:
        step(lambda archs, batch, lr, taken: used.append(batch), (), batch, 1.0)
    assert differing(used, right) == ([1, 4], [])
    assert np.array_equal(used[1].flow, right[0].flow)


@pytest.mark.parametrize(
    ("fault", "which"),
    [(handling.RecalBufferOverwritten, "recal"), (handling.ScoredLabelsOverwritten, "eval")],
)
def test_what_is_used_is_other_than_what_is_served(samples, fault, which):
    batches = tuple(streamed(samples, SOUND, epochs=(1,)))
    fixed = SimpleNamespace(protocol=lambda: Protocol(((0,) * 9,), batches, batches, 3))
    inner = SimpleNamespace(session=SimpleNamespace(fixed=fixed), open=lambda config: None)
    fault().wrap(inner).open({})
    used = fixed.protocol()
    found = {"eval": used.eval_batches, "recal": used.recal_batches}
    assert differing(found.pop(which), batches) == ([0], [])
    assert differing(*found.values(), batches) == ([], [])


def test_the_sums_of_an_epoch_are_kept():
    after = Progress(epoch=1, step=3, sums=EpochSums((1.0, 2.0), (3.0,), 1, 0.1))
    assert SOUND.train.after_epoch(after) == Progress(epoch=2)
    assert broken(handling.EpochSumsKept).train.after_epoch(after).sums == after.sums


def test_the_partial_batch_is_left_out_of_the_plan():
    plan = broken(handling.PartialBatchUnplanned).data.batch_sizes
    assert plan(8, batch_size=3, steps=None) == [3, 3]
    assert plan(1, batch_size=3, steps=None) == [1]


@pytest.mark.parametrize(
    ("fault", "other"),
    [
        (handling.CacheKeyWithoutCrop, {"crop": (16, 8)}),
        (handling.CacheKeyWithoutClip, {"flow_clip": 4.0}),
    ],
)
def test_a_key_without_something_is_the_same_whatever_it_is(fault, other):
    asked = {"code": "c", "crop": (8, 16), "flow_clip": None, "ids": ["a"], "contents": ["d"]}
    key = broken(fault).data.cache_key
    assert key(**asked) == key(**{**asked, **other}) != key(**{**asked, "contents": ["e"]})
    assert batch_key(**asked) != batch_key(**{**asked, **other})


def test_the_third_record_between_two_syncs_is_dropped(tmp_path):
    for name, parts in (("sound", SOUND), ("full", broken(handling.LedgerDropsUnderLoad))):
        with closing(Ledger(tmp_path / name, write=parts.write_line)) as ledger:
            for number in range(4):
                ledger(NoteRecord(number, "-"))
    assert [r.epoch for r in read_ledger(tmp_path / "sound").records] == [0, 1, 2, 3]
    assert [r.epoch for r in read_ledger(tmp_path / "full").records] == [0, 1, 3]


def test_a_batch_that_is_put_together_otherwise_has_no_cache(samples, tmp_path):
    parts = replace(
        SOUND.data, assemble=lambda *args, **kwargs: SOUND.data.assemble(*args, **kwargs)
    )
    for given, files in ((parts, 0), (SOUND.data, 1)):
        provider = Provider(samples, "eval", (8, 16), 3, None, parts=given)
        BatchCache(tmp_path).batch(provider, [0, 1])
        assert len(list(tmp_path.glob("*.batch"))) == files
