"""Damaged checkpoints, frozen artifacts and cached batches: refused, or the very same arrays."""

import io
import struct
import zipfile
import zlib
from functools import partial

import numpy as np
import pytest

from harness.errors import InputError
from harness.fc2.cache import BatchCache, CacheError
from harness.fc2.frozen import FrozenBatches, read_frozen, write_frozen
from harness.fc2.layout import list_triplets
from harness.fc2.provider import Provider
from harness.fc2.synthetic import write_dataset
from harness.training.checkpoint import CheckpointStore, load_checkpoint
from tests.fuzz.fuzzing import OTHERS, Limits, counts, replay, run_cases, seed
from tests.fuzz.mutators import BYTES, one_of

LIMITS = Limits(seconds=5, memory_mib=64)
ARRAYS = {
    "E0/kernel": np.arange(36, dtype=np.float32).reshape(4, 9), "E0/gamma": np.float32([1, 2, 3]),
    "adam/step": np.int64(11),
}  # fmt: skip
META = {"config": {}, "environment": {}, "identity": ""}


def _record(random, content):
    """Set a field of the archive's own records, or of an array's header, to an extreme."""
    found = bytearray(content)
    places = [
        at
        for mark in (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"\x93NUMPY")
        for at in _every(content, mark)
    ]
    if not places:
        return content
    at = random.choice(places) + random.randrange(60)
    value = random.choice([0, 1, 8, 0xFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1])
    piece = struct.pack("<Q", value)[: random.choice([1, 2, 4, 8])]
    found[at : at + len(piece)] = piece
    return bytes(found)


def _every(content, mark):
    at = content.find(mark)
    while at >= 0:
        yield at
        at = content.find(mark, at + 1)


def _header_text(random, content):
    """Say another type, order or shape, of the same length."""
    changes = [
        (b"'<f4'", b"'>f4'"), (b"'<f4'", b"'<i4'"), (b"'<f4'", b"'|O4'"), (b"False", b"True "),
        (b"(4, 9)", b"(9, 4)"), (b"(4, 9)", b"(9**9)"), (b"(3,)", b"(-1)"), (b"(4, 9)", b"(4,-9)"),
        (b"'shape'", b"'sharp'"), (b"{'des", b"{{{{{{"), (b"'|u1'", b"'|i1'"), (b"'|b1'", b"'|u1'"),
    ]  # fmt: skip
    old, new = random.choice(changes)
    return content.replace(old, new, random.choice([1, -1]))


def _sealed(random, content):
    """Set the checksums of the archive's arrays to what they are now."""
    found = bytearray(MUTATE(random, content))
    try:
        with zipfile.ZipFile(io.BytesIO(found)) as archive:
            entries = archive.infolist()
        for entry, central in zip(entries, _every(bytes(found), b"PK\1\2"), strict=False):
            at = entry.header_offset
            name, extra = struct.unpack_from("<HH", found, at + 26)
            start = at + 30 + name + extra
            checksum = zlib.crc32(bytes(found[start : start + entry.compress_size]))
            struct.pack_into("<I", found, at + 14, checksum)
            struct.pack_into("<I", found, central + 16, checksum)
    except Exception:  # noqa: BLE001, S110 -- too damaged to have checksums
        pass
    return bytes(found)


MUTATE = one_of(*BYTES, _record, _header_text)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed") / "checkpoints"
    CheckpointStore(folder).save("epoch-0001", ARRAYS, {"epoch": 1}, META)
    return folder / "epoch-0001"


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed") / "fc2"
    write_dataset(folder, train=3, val=1, height=21, width=37)
    return Provider(list_triplets(folder / "train"), "eval", (8, 8), 2, 9.5)


@pytest.fixture(scope="module")
def frozen(split, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzzed") / "frozen.npz"
    write_frozen(path, FrozenBatches((split.gather([0, 1]), split.gather([2])), ()))
    return path


def _read_checkpoint(folder, _, content):
    (folder / "arrays.npz").write_bytes(content)
    return load_checkpoint(folder).arrays


def _read_frozen(path, _, content):
    path.write_bytes(content)
    return read_frozen(path)


def _read_cached(split, cache, path, _, content):
    path.write_bytes(content)
    return cache.batch(split, [0, 1])


def _same_arrays(wanted, _, found):
    same = found.keys() == wanted.keys() and all(
        (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        for a, b in ((np.asarray(wanted[name]), found[name]) for name in wanted)
    )
    return None if same else "other arrays"


def _batches(found):
    return [
        (b.ids, b.windows, b.flow_clip, *(getattr(b, n).tobytes() for n in ("frames", "flow")))
        for b in (*found.eval_batches, *found.recal_batches)
    ]


def _same_batches(wanted, _, found):
    return None if _batches(found) == wanted else "other batches"


@pytest.mark.parametrize("mutate", [MUTATE, _sealed], ids=["blind", "sealed"])
@counts(OTHERS)
def test_a_damaged_checkpoint_is_refused_or_has_the_same_arrays(checkpoint, count, mutate):
    whole = (checkpoint / "arrays.npz").read_bytes()
    run_cases(
        "arrays", originals={"arrays": whole}, mutate=mutate,
        read=partial(_read_checkpoint, checkpoint), judge=partial(_same_arrays, ARRAYS),
        count=count, seed=seed(), limits=LIMITS, apart=True, named=lambda _: "epoch-0001",
    ).require_clean()  # fmt: skip
    (checkpoint / "arrays.npz").write_bytes(whole)


@pytest.mark.parametrize("mutate", [MUTATE, _sealed], ids=["blind", "sealed"])
@counts(OTHERS)
def test_a_damaged_frozen_artifact_is_refused_or_has_the_same_batches(frozen, count, mutate):
    whole, wanted = frozen.read_bytes(), _batches(read_frozen(frozen))
    run_cases(
        "frozen", originals={"frozen": whole}, mutate=mutate, read=partial(_read_frozen, frozen),
        judge=partial(_same_batches, wanted), count=count, seed=seed(), limits=LIMITS, apart=True,
        named=lambda _: "frozen.npz",
    ).require_clean()  # fmt: skip
    frozen.write_bytes(whole)


@counts(OTHERS)
def test_a_damaged_cached_batch_is_refused_or_is_the_same(split, count, tmp_path):
    cache = BatchCache(tmp_path)
    wanted = _batches(FrozenBatches((cache.batch(split, [0, 1]),), ()))
    [path] = tmp_path.glob("*.batch")
    run_cases(
        "cached", originals={"cached": path.read_bytes()}, mutate=one_of(*BYTES),
        read=partial(_read_cached, split, cache, path), count=count, seed=seed(), limits=LIMITS,
        judge=lambda _, found: _same_batches(wanted, _, FrozenBatches((found,), ())), apart=True,
        expected=(CacheError,), named=lambda _: path.name,
    ).require_clean()  # fmt: skip


def test_what_was_found_before_is_refused_still(checkpoint):
    whole = (checkpoint / "arrays.npz").read_bytes()
    replay(
        "arrays", read=partial(_read_checkpoint, checkpoint), limits=LIMITS,
        judge=partial(_same_arrays, ARRAYS), expected=(InputError,), named=lambda _: "epoch-0001",
    ).require_clean()  # fmt: skip
    (checkpoint / "arrays.npz").write_bytes(whole)
