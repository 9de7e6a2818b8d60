"""Damaged frames and flow: refused in one line, or the very pixels of the whole file."""

import struct
import zlib
from functools import partial

import numpy as np
import pytest

from harness.errors import InputError
from harness.fc2.decode import read_flow, read_image
from tests.fuzz.fuzzing import CHEAP, OTHERS, Limits, counts, replay, run_cases, seed
from tests.fuzz.mutators import BYTES, one_of
from tests.hostile_frames import HARMLESS, IMAGE, by_hand, chunk

LIMITS = Limits(seconds=5, memory_mib=160)


def _many_chunks():
    """Return a file whose pixels lie in chunks of a few bytes."""
    whole = by_hand(IMAGE)
    packed = whole[41:-16]
    parts = [chunk(b"IDAT", packed[at : at + 50]) for at in range(0, len(packed), 50)]
    return b"".join([whole[:33], *parts, chunk(b"IEND")])


FRAMES = {
    "plain": by_hand(IMAGE), "chunks": _many_chunks(), "text": HARMLESS["a text"],
    "even": by_hand(np.zeros_like(IMAGE)),
}  # fmt: skip
WANTED = {"plain": IMAGE, "chunks": IMAGE, "text": IMAGE, "even": np.zeros_like(IMAGE)}
MOTION = np.random.default_rng(1).normal(0, 9, (13, 21, 2)).astype("<f4")
FLOW = {"flow": b"PIEH" + struct.pack("<ii", 21, 13) + MOTION.tobytes()}


def _chunk_places(content):
    start = 8
    while start + 12 <= len(content):
        length = int.from_bytes(content[start : start + 4], "big")
        yield start, length
        start += 12 + length


def _with_checksums(content):
    """Return a file in which every chunk that lies within it has its checksum."""
    found = bytearray(content)
    for start, length in list(_chunk_places(content)):
        end = start + 8 + length
        if end + 4 <= len(found):
            found[end : end + 4] = struct.pack(">I", zlib.crc32(found[start + 4 : end]))
    return bytes(found)


def _field(random, content):
    """Set a length, a name or a field of the header to an extreme."""
    found = bytearray(content)
    start, length = random.choice(list(_chunk_places(content)) or [(0, 0)])
    number = random.choice([0, 1, length - 1, length + 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1])
    names = [b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"zTXt"]
    place, value = random.choice(
        [(start, struct.pack(">I", number % 2**32)), (start + 4, random.choice(names)),
         (16, struct.pack(">I", number % 2**32)), (20, struct.pack(">I", number % 2**32)),
         (24, bytes([random.choice([1, 2, 4, 8, 16, 7]), random.randrange(8)])),
         (26, bytes([random.randrange(3), random.randrange(3), random.randrange(3)]))]
    )  # fmt: skip
    found[place : place + len(value)] = value
    return bytes(found)


def _moved(random, content):
    """Say a chunk twice, leave one out, or exchange two."""
    parts = [content[a : a + 12 + n] for a, n in _chunk_places(content)]
    if not parts:
        return content
    one, other = random.randrange(len(parts)), random.randrange(len(parts))
    kind = random.randrange(3)
    if kind == 0:
        parts.insert(other, parts[one])
    elif kind == 1:
        del parts[one]
    else:
        parts[one], parts[other] = parts[other], parts[one]
    return content[:8] + b"".join(parts)


def _sealed(mutate, random, content):
    """Damage a file so that its checksums hold all the same."""
    return _with_checksums(mutate(random, content))


BLIND = one_of(*BYTES, _field, _moved)


def _read(read, tmp_path, _, content):
    path = tmp_path / "0000004-img_0.png"
    path.write_bytes(content)
    return read(path)


def _same(wanted, name, found):
    same = found.dtype == wanted[name].dtype and np.array_equal(found, wanted[name])
    return None if same else f"other pixels of shape {found.shape}"


def _of_its_header(_, found):
    """Whoever sets the checksums too may ask for other pixels; they are in the digest."""
    return None if found.ndim == 3 and found.shape[2] == 3 else f"shape {found.shape}"


BGR = {name: image[..., ::-1] for name, image in WANTED.items()}
NAMED = {"named": lambda _: "0000004-img_0.png", "expected": (InputError,)}


@counts(OTHERS)
def test_a_damaged_frame_is_refused_or_has_the_pixels_of_the_whole(tmp_path, count):
    run_cases(
        "png", originals=FRAMES, mutate=BLIND, read=partial(_read, read_image, tmp_path),
        judge=partial(_same, BGR), count=count, seed=seed(), limits=LIMITS, apart=True, **NAMED,
    ).require_clean()  # fmt: skip


@counts(OTHERS)
def test_a_frame_with_right_checksums_ends_nothing(tmp_path, count):
    run_cases(
        "png-sealed", originals=FRAMES, mutate=partial(_sealed, BLIND),
        read=partial(_read, read_image, tmp_path), judge=_of_its_header, count=count, seed=seed(),
        limits=LIMITS, apart=True, **NAMED,
    ).require_clean()  # fmt: skip


def _flow_differs(_, found):
    """A flow file has no checksum: its bytes are in the digest, and its size is all it can lie."""
    return None if found.size == MOTION.size else f"shape {found.shape}"


@counts(CHEAP, few=500)
def test_a_damaged_flow_is_refused_or_has_as_many_numbers(tmp_path, count):
    run_cases(
        "flo", originals=FLOW, mutate=one_of(*BYTES), read=partial(_read, read_flow, tmp_path),
        judge=_flow_differs, count=count, seed=seed(), limits=LIMITS, apart=True, **NAMED,
    ).require_clean()  # fmt: skip


@pytest.mark.parametrize(
    ("of", "read", "judge"),
    [("png", read_image, partial(_same, BGR)), ("png-sealed", read_image, _of_its_header),
     ("flo", read_flow, _flow_differs)],
)  # fmt: skip
def test_what_was_found_before_is_refused_still(tmp_path, of, read, judge):
    tally = replay(of, read=partial(_read, read, tmp_path), judge=judge, limits=LIMITS, **NAMED)
    tally.require_clean()
