"""Frames and flow that lie about themselves; the files are small, what they claim is not."""

import struct
import zlib

import numpy as np

from tests.limited import MIB, at_most

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name, body=b"", claimed=None):
    """Return a chunk with its checksum, of its own length or of another that it claims."""
    checksum = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body) if claimed is None else claimed) + name + body + checksum


def header(width, height, depth=8, colour=2, interlaced=0):
    fields = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return SIGNATURE + chunk(b"IHDR", fields)


def by_hand(image, *, before=b"", after=b"", colour=2):
    """Return an RGB file of an image (H, W, 3) with chunks before and after its pixels."""
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    start = header(image.shape[1], image.shape[0], colour=colour)
    return start + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND")


IMAGE = np.random.default_rng(3).integers(0, 256, (13, 21, 3)).astype(np.uint8)
_WHOLE = by_hand(IMAGE)
_BOMB = zlib.compress(bytes(64 * MIB), 9)


def _flipped(bit):
    """Return a whole file with one bit of the length of its pixels flipped."""
    content = bytearray(_WHOLE)
    content[33 + (31 - bit) // 8] ^= 1 << bit % 8
    return bytes(content)


LYING = {
    **{f"one bit of the length, {bit}": _flipped(bit) for bit in range(32)},
    "78 bytes of a gigapixel": header(2**15, 2**15) + chunk(b"IDAT", b"x" * 9) + chunk(b"IEND"),
    "the largest sides": header(2**31 - 1, 2**31 - 1) + chunk(b"IDAT") + chunk(b"IEND"),
    "a palette of a gigapixel": header(2**15, 2**15, 1, 3) + chunk(b"IDAT", b"x") + chunk(b"IEND"),
    "no pixels": header(21, 13) + chunk(b"IEND"),
    "too many sides": header(2**20, 2**20) + chunk(b"IDAT", _BOMB) + chunk(b"IEND"),
    "a length of 4 GiB": header(21, 13) + chunk(b"IDAT", b"x", 2**32 - 1) + chunk(b"IEND"),
    "a text of 4 GiB": header(21, 13) + chunk(b"tEXt", b"x", 2**32 - 1) + chunk(b"IEND"),
    "an animation": by_hand(IMAGE, before=chunk(b"acTL", struct.pack(">II", 2**31, 0))),
    "an animation cut short": by_hand(IMAGE, before=chunk(b"acTL", b"x")),
    "fewer rows than it says": header(21, 14) + _WHOLE[33:],
}
"""PNG files that must be refused."""

HARMLESS = {
    "a text that inflates": by_hand(IMAGE, before=chunk(b"zTXt", b"Comment\0\0" + _BOMB)),
    "a profile that inflates": by_hand(IMAGE, before=chunk(b"iCCP", b"icc\0\0" + _BOMB)),
    "a text": by_hand(IMAGE, before=chunk(b"tEXt", b"Comment\0by hand"), after=chunk(b"tIME")),
    "EXIF that turns it": by_hand(
        IMAGE, before=chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0")
    ),
    "bytes behind its end": _WHOLE + b"x" * 1000,
}
"""PNG files with the pixels of :data:`IMAGE`, and something beside them."""


def refuse_lying_frames(path):
    """Read each lying file with no more memory than a multiple of the file."""
    from pathlib import Path

    from harness.fc2.decode import read_image
    from harness.fc2.errors import SampleError

    for name, content in LYING.items():
        Path(path).write_bytes(content)
        with at_most(4 * len(content)):
            try:
                read_image(Path(path))
            except SampleError as error:
                found = str(error)
            else:
                found = "accepted"
        assert "do not decode" in found, f"{name}: {found}"


def read_harmless_frames(path):
    """Read frames with bombs beside their pixels within the bounds of what they are."""
    from pathlib import Path

    from harness.fc2.decode import read_image

    for name, content in HARMLESS.items():
        Path(path).write_bytes(content)
        with at_most(4 * len(content)):
            np.testing.assert_array_equal(read_image(Path(path)), IMAGE[..., ::-1], name)


def refuse_long_files(path):
    """Read files of a terabyte that hold nothing."""
    from pathlib import Path

    from harness.fc2.decode import read_flow, read_image
    from harness.fc2.errors import SampleError

    for start, read in (
        (_WHOLE, read_image), (b"", read_image), (b"", read_flow),
        (b"PIEH" + struct.pack("<ii", 21, 13), read_flow),
    ):  # fmt: skip
        with Path(path).open("wb") as file:
            file.write(start)
            file.truncate(2**40)
        with at_most(MIB):
            try:
                read(Path(path))
            except SampleError as error:
                found = str(error)
            else:
                found = "accepted"
        assert str(2**40) in found, f"{start!r}: {found}"


def say_out_of_memory(path):
    """Read a frame whose pixels do not fit: that is no damage, and the file is named."""
    from pathlib import Path

    from harness.fc2.decode import read_image

    side, found = 4000, "48 MB fitted"
    rows = zlib.compress(bytes(side * (3 * side + 1)))
    content = header(side, side) + chunk(b"IDAT", rows) + chunk(b"IEND")
    Path(path).write_bytes(content)
    try:
        with at_most(0):
            read_image(Path(path))
    except MemoryError as error:
        found = str(error)
    assert found == f"{path}: no memory for {side} x {side} pixels", found
    assert read_image(Path(path)).shape == (side, side, 3)
