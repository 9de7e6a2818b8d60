import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest

from harness.config import parse_config
from harness.digest import digest_strings
from harness.errors import InputError
from harness.evaluation.batches import FixedBatches
from harness.fc2.batch import content_digest, join_digests
from harness.fc2.batch_store import MIB, BatchStore, nbytes
from harness.fc2.cache import BatchCache, CacheError
from harness.fc2.errors import SampleError
from harness.fc2.frozen import FrozenBatches, write_frozen
from harness.fc2.layout import list_triplets
from harness.fc2.provider import DataParts, Provider
from harness.fc2.synthetic import write_dataset

COUNT, CROP = 7, (16, 24)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cached") / "fc2"
    write_dataset(folder, train=COUNT, val=5, height=21, width=37)
    return folder


def provider(root, **given):
    values = {"batch_size": 3, "flow_clip": 9.5, "crop": CROP} | given
    return Provider(list_triplets(root / "train"), "eval", **values)


def config(root, **runtime):
    return parse_config(
        {
            "runtime": runtime,
            "data": {"base_path": str(root), "input_height": 16, "input_width": 24},
            "train": {"batch_size": 2},
            "eval": {"bn_recal_batches": 3, "eval_batches_per_arch": "full"},
        }
    )


def same(one, other):
    arrays = ("frames", "flow", "valid")
    assert [getattr(one, a).tobytes() for a in arrays] == [
        getattr(other, a).tobytes() for a in arrays
    ]
    assert [(getattr(one, a).dtype, getattr(one, a).shape) for a in arrays] == [
        (getattr(other, a).dtype, getattr(other, a).shape) for a in arrays
    ]
    assert replace(one, frames=other.frames, flow=other.flow, valid=other.valid) == other


def files(folder):
    return sorted(folder.glob("*.batch"))


def undecodable(monkeypatch):
    def refuse(path, data=None):
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr("harness.fc2.decode.read_image", refuse)


def everything(fixed):
    return (*fixed.eval_batches(), *fixed.recal_batches(1))


@pytest.mark.parametrize("mib", [0, 1], ids=["mapped", "in-memory"])
@pytest.mark.parametrize("disk", [False, True], ids=["temporary", "kept"])
@pytest.mark.parametrize("frozen", [False, True], ids=["files", "frozen"])
def test_batches_are_the_same_wherever_they_lie(root, tmp_path, mib, disk, frozen):
    wanted = everything(FixedBatches(config(root)))
    settings = {"cache_mib": mib, "cache_dir": str(tmp_path / "cache") if disk else ""}
    cached = config(root, **settings)
    if frozen:
        write_frozen(tmp_path / "f.npz", FrozenBatches(wanted[:3], wanted[3:]))
        evaluation = cached.eval.model_copy(update={"frozen": str(tmp_path / "f.npz")})
        cached = cached.model_copy(update={"eval": evaluation})
    for _ in range(2):
        fixed = FixedBatches(cached)
        found = everything(fixed)
        assert fixed._store.resident == (sum(map(nbytes, wanted)) if mib else 0)
        assert join_digests(found) == join_digests(wanted)
        for one, other in zip(found, wanted, strict=True):
            same(one, other)
            for array in (one.frames, one.flow, one.valid):
                assert not array.flags.writeable
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0
    assert len(files(tmp_path / "cache")) == (6 if disk and not frozen else 0)


@pytest.mark.parametrize("role", ["eval", "recal"])
def test_frozen_batches_of_another_crop_than_is_configured_are_refused(root, tmp_path, role):
    wanted = everything(FixedBatches(config(root)))
    height, width = wanted[0].valid.shape[1:]
    other = [replace(one, frames=one.frames[:, 4:], flow=one.flow[:, 4:], valid=one.valid[:, 4:])
             for one in wanted]  # fmt: skip
    kept = {"eval": wanted[:3], "recal": wanted[3:]} | {role: tuple(other[:2])}
    write_redigested(tmp_path / "f.npz", kept["eval"], kept["recal"])
    evaluation = config(root).eval.model_copy(update={"frozen": str(tmp_path / "f.npz")})
    message = (
        f"f.npz: batches of {height - 4} x {width} px (H x W), expected the configured evaluation "
        f"crop, {height} x {width} px; set eval.crop to [{height - 4}, {width}], or freeze"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        FixedBatches(config(root).model_copy(update={"eval": evaluation}))


def write_redigested(path, *roles):
    digested = (
        tuple(replace(one, digest=content_digest(one.ids, one.windows, one.frames, one.flow,
                                                 one.valid)) for one in batches)
        for batches in roles
    )  # fmt: skip
    write_frozen(path, FrozenBatches(*digested))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_number_of_workers_changes_no_fixed_batch(root, workers):
    wanted = everything(FixedBatches(config(root)))
    tree = config(root).model_dump(mode="json", by_alias=True)
    tree["data"]["num_workers"] = workers
    found = everything(FixedBatches(parse_config(tree)))
    assert join_digests(found) == join_digests(wanted)


def test_memory_is_used_up_to_the_budget_and_no_further(root):
    batches = [provider(root).gather([i, i + 1]) for i in range(4)]
    size = nbytes(batches[0])
    store = BatchStore(2 * size + size // 2)
    kept = [store.keep(batch) for batch in batches]
    assert [one is other for one, other in zip(kept, batches, strict=True)] == [
        True, True, False, False
    ]  # fmt: skip
    assert store.resident == 2 * size
    for one, other in zip(kept, batches, strict=True):
        same(one, other)
    store.release(kept[:1])
    assert store.keep(batches[3]) is batches[3]
    assert store.resident == 2 * size


def test_random_recalibration_gives_back_its_memory_and_writes_no_file(root, tmp_path):
    tree = config(root, cache_mib=1, cache_dir=str(tmp_path / "c")).model_dump(by_alias=True)
    tree["eval"]["recal_mode"] = "random"
    fixed = FixedBatches(parse_config(tree))
    sizes = []
    for epoch in (1, 2, 3):
        fixed.recal_batches(epoch)
        sizes.append(fixed._store.resident)
    assert len(set(sizes)) == 1
    assert files(tmp_path / "c") == []


def test_a_batch_is_decoded_once_whatever_process_asks(root, tmp_path, monkeypatch):
    cache = BatchCache(tmp_path / "cache")
    wanted = cache.batch(provider(root), [0, 1, 2])
    undecodable(monkeypatch)
    same(BatchCache(tmp_path / "cache").batch(provider(root), [0, 1, 2]), wanted)
    with pytest.raises(AssertionError, match="decoded again"):
        cache.batch(provider(root), [0, 1, 3])


def stored(content, changed=False):
    """Return a PNG file with uncompressed pixels, whose size no pixel changes."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    image[10, 18] ^= changed
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()


@pytest.mark.parametrize("member", ["img_0", "img_1", "flow"])
def test_a_file_of_the_same_name_size_and_time_is_not_taken_for_another(root, tmp_path, member):
    root = shutil.copytree(root, tmp_path / "fc2")
    cache, path = BatchCache(tmp_path / "cache"), getattr(list_triplets(root / "train")[1], member)
    if member != "flow":
        path.write_bytes(stored(path.read_bytes()))
    before = cache.batch(provider(root), [0, 1])
    kept, content = path.stat(), bytearray(path.read_bytes())
    if member == "flow":  # in the middle of the frame: row 10, column 18
        content[12 + 8 * (10 * 37 + 18)] ^= 1
    else:
        content = stored(content, changed=True)
    assert len(content) == kept.st_size
    path.write_bytes(content)
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns) == (kept.st_size, kept.st_mtime_ns)
    after = cache.batch(provider(root), [0, 1])
    assert after.digest != before.digest
    same(after, provider(root).gather([0, 1]))


@pytest.mark.parametrize(
    "changed",
    [{"crop": (16, 16)}, {"flow_clip": 0.25}, {"flow_clip": None}, "order", "code"],
    ids=str,
)
def test_what_a_batch_follows_from_is_in_its_key(root, tmp_path, changed):
    cache = BatchCache(tmp_path / "cache")
    cache.batch(provider(root), [0, 1])
    other = provider(root, **(changed if isinstance(changed, dict) else {}))
    again = replace(cache, code="another") if changed == "code" else cache
    indices = [1, 0] if changed == "order" else [0, 1]
    same(again.batch(other, indices), other.gather(indices))
    assert len(files(tmp_path / "cache")) == 2


def test_another_decoder_is_not_served_from_the_cache(root, tmp_path):
    cache, parts = BatchCache(tmp_path / "cache"), DataParts()
    cache.batch(provider(root), [0, 1])
    inverted = replace(parts, decode=lambda t: replace(d := parts.decode(t), frames=255 - d.frames))
    other = provider(root, parts=inverted)
    same(cache.batch(other, [0, 1]), other.gather([0, 1]))
    assert len(files(tmp_path / "cache")) == 1


def test_every_damaged_byte_is_noticed_and_the_file_named(root, tmp_path):
    cache = BatchCache(tmp_path / "cache")
    cache.batch(provider(root), [0, 1])
    [path] = files(tmp_path / "cache")
    whole, wanted = path.read_bytes(), provider(root).gather([0, 1])
    ends = [*range(0, 90), *range(90, len(whole), 211), len(whole) - 1]
    refused = 0
    for place in ends:
        spoilt = bytearray(whole)
        spoilt[place] ^= 4
        path.write_bytes(spoilt)
        try:
            same(cache.batch(provider(root), [0, 1]), wanted)
        except CacheError as error:
            refused += str(path) in str(error) and "remove it" in str(error)
    assert len(ends) - refused <= 3  # bytes between header and arrays, which nobody reads


@pytest.mark.parametrize("length", [0, 5, 60, 500, -1, +1])
def test_a_file_of_another_length_is_refused(root, tmp_path, length):
    cache = BatchCache(tmp_path / "cache")
    cache.batch(provider(root), [0, 1])
    [path] = files(tmp_path / "cache")
    whole = path.read_bytes()
    path.write_bytes(whole + b"0" if length == 1 else whole[:length])
    with pytest.raises(CacheError, match=r"\.batch: damaged: .*remove it"):
        cache.batch(provider(root), [0, 1])


def test_a_file_under_another_batch_s_name_is_refused(root, tmp_path):
    cache = BatchCache(tmp_path / "cache")
    cache.batch(provider(root), [0, 1])
    [first] = files(tmp_path / "cache")
    cache.batch(provider(root), [2, 3])
    [second] = set(files(tmp_path / "cache")) - {first}
    second.write_bytes(first.read_bytes())
    with pytest.raises(CacheError, match="expected the batch of its name"):
        cache.batch(provider(root), [2, 3])


def test_a_source_that_changes_while_it_is_read_is_refused(root, tmp_path):
    counted = iter(range(100))
    parts = replace(DataParts(), fingerprint=lambda triplet: f"{triplet.id} {next(counted)}")
    with pytest.raises(SampleError, match="something writes to the data set"):
        BatchCache(tmp_path / "cache").batch(provider(root, parts=parts), [0, 1])
    assert files(tmp_path / "cache") == []


def test_a_folder_that_cannot_be_written_is_named(root, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CacheError, match=r"cache/.*Not a directory.*runtime\.cache_dir"):
        BatchCache(tmp_path / "cache").batch(provider(root), [0, 1])


def test_threads_and_processes_may_share_a_folder(root, tmp_path):
    wanted = provider(root).gather([0, 1]).digest
    code = (
        "import sys; from pathlib import Path\n"
        "from harness.fc2.cache import BatchCache\n"
        "from harness.fc2.layout import list_triplets\n"
        "from harness.fc2.provider import Provider\n"
        "root, folder = map(Path, sys.argv[1:])\n"
        "provider = Provider(list_triplets(root / 'train'), 'eval', (16, 24), 3, 9.5)\n"
        "for _ in range(20):\n"
        "    print(BatchCache(folder).batch(provider, [0, 1]).digest)\n"
        "    for path in folder.glob('*.batch'): path.unlink(missing_ok=True)\n"
    )
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                BatchCache(tmp_path / "cache").batch(provider(root), [0, 1]).digest
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        found += process.communicate(timeout=60)[0].split()
        assert process.returncode == 0
    assert found == [wanted] * 44
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.suffix != ".batch"] == []


def test_a_budget_in_mib_counts_bytes():
    assert MIB == 1024 * 1024


def test_a_cached_file_that_is_cut_while_its_batch_is_used_ends_nothing(root, tmp_path):
    cache = BatchCache(tmp_path / "cache")
    cache.batch(provider(root), [0, 1])
    found, wanted = cache.batch(provider(root), [0, 1]), provider(root).gather([0, 1])
    [path] = files(tmp_path / "cache")
    os.truncate(path, 0)
    same(found, wanted)


@pytest.mark.parametrize("mib", [0, 1], ids=["mapped", "in-memory"])
def test_evaluation_batches_stay_as_they_were_verified(root, tmp_path, mib):
    settings = {"cache_mib": mib, "cache_dir": str(tmp_path / "cache")}
    wanted = everything(FixedBatches(config(root)))
    everything(FixedBatches(config(root, **settings)))
    found = everything(FixedBatches(config(root, **settings)))
    for path in files(tmp_path / "cache"):
        os.truncate(path, 0)
    for one, other in zip(found, wanted, strict=True):
        same(one, other)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".batch"}


def _layout(**changed):
    """Return what a header says of a batch of two, with another array."""
    arrays = {"frames": ["|u1", [2, 16, 24, 6]], "flow": ["<f4", [2, 16, 24, 2]],
              "valid": ["|b1", [2, 16, 24]]}  # fmt: skip
    return [[name, *described] for name, described in (arrays | changed).items()]


@pytest.mark.parametrize(
    "layout",
    [
        None, [], 7, "frames", _layout(flow=["<f4", [2**40, 16, 24, 2]]), _layout()[:2],
        _layout(flow=["<f4", [2**32, 2**32, 1, 1]]), _layout(flow=["<f4", [-2, -16, 24, 2]]),
        _layout(flow=["|O", [2, 16, 24, 2]]), _layout(flow=["<f4", [True, 16, 24, 2]]),
        _layout(flow=["<f4", None]), _layout(flow=["<f4", [2.0, 16, 24, 2]]), _layout()[::-1],
        _layout(valid=["|V0", [2**60]]), _layout(flow="x" * 10**6),
    ],
    ids=range(15),
)  # fmt: skip
def test_a_layout_that_lies_is_refused_before_memory_is_taken(root, tmp_path, layout):
    cache = BatchCache(tmp_path / "cache")
    cache.batch(provider(root), [0, 1])
    [path] = files(tmp_path / "cache")
    content = path.read_bytes()
    start = len(b"samebits batch 1\n") + 32
    length = int.from_bytes(content[start : start + 8], "little")
    header = json.loads(content[start + 8 : start + 8 + length])
    text = json.dumps(header | {"layout": layout}).encode()
    head = digest_strings([text.decode()]).encode() + len(text).to_bytes(8, "little") + text
    path.write_bytes(b"samebits batch 1\n" + head + content[start + 8 + length :])
    tracemalloc.start()
    with pytest.raises(CacheError, match=r"\.batch: damaged: .*remove it") as caught:
        cache.batch(provider(root), [0, 1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(path.read_bytes()) + MIB
    assert len(str(caught.value)) < 500
