"""What a PNG file says of itself, held against its length before any decoder sees it.

A decoder believes a chunk's length and a header's size, and takes gigabytes for one flipped bit.
Here nothing is taken beyond the file: chunks must lie within it, and what is compressed must
suffice for the pixels that the header promises.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["HEAD", "Header", "PngError", "checked_png", "read_header", "why_undecodable"]

HEAD = 33
"""Bytes of signature and header chunk, which come first."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OVERHEAD = 12
"""Bytes of a chunk's length, name and checksum."""
_DENSEST = 1032
"""Bytes that one byte of a deflate stream stands for at most: 258 in two bits."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type: grey, RGB, palette, grey with alpha, RGB with alpha."""
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_DRAWN = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_OTHERS = {
    b"\xff\xd8\xff": "a JPEG", b"GIF8": "a GIF", b"BM": "a BMP", b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF", b"RIFF": "a WebP", b"P5": "a PGM", b"P6": "a PPM", b"\0\x05\x16\x07":
    "a resource fork of macOS", b"version https://git-lfs": "a pointer of Git LFS",
}  # fmt: skip


class PngError(ValueError):
    """A file is no PNG that can be decoded; the message says what in it is wrong."""


@dataclass(frozen=True)
class Header:
    """Size and kind of the pixels that a file promises.

    Attributes
    ----------
    height, width : int
        Px.
    depth : int
        Bits of a channel, or of an index into the palette.
    colour : int
        Colour type of the format.
    """

    height: int
    width: int
    depth: int
    colour: int

    @property
    def packed(self) -> int:
        """Bytes of the pixels before compression, without what each row begins with."""
        return -(-self.height * self.width * _CHANNELS[self.colour] * self.depth // 8)

    def fits(self, length: int) -> bool:
        """Return whether so many compressed bytes can stand for all pixels."""
        return self.packed <= _DENSEST * length

    def decoded(self, transparent: bool) -> str:
        """Return type and shape of the array that it decodes to, as NumPy writes them."""
        channels = 1 if self.colour == 0 else 4 if transparent or self.colour in (4, 6) else 3
        shape = (self.height, self.width) if channels == 1 else (self.height, self.width, channels)
        return f"{'uint16' if self.depth == 16 else 'uint8'} {shape}"


def read_header(head: bytes) -> Header:
    """Read signature and header chunk from a file's first 33 bytes.

    Raises
    ------
    PngError
        If they are of no PNG.
    """
    if not head.startswith(_SIGNATURE):
        other = next((kind for start, kind in _OTHERS.items() if head.startswith(start)), "")
        raise PngError(f"{other}, not a PNG" if other else "no PNG signature")
    if len(head) < HEAD or head[8:16] != b"\0\0\0\rIHDR":
        raise PngError(f"no header of 13 bytes at the start, found {head[8:16]!r}")
    width, height, depth, colour = struct.unpack_from(">IIBB", head, 16)
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise PngError(f"a header of {width} x {height} pixels")
    if depth not in _DEPTHS.get(colour, ()):
        raise PngError(f"a header of {depth} bits and colour type {colour}")
    return Header(height, width, depth, colour)


def checked_png(data: bytes) -> tuple[Header, bool, bytes]:
    """Hold a file's chunks against its length, and leave out what draws no pixel.

    Text and colour profiles go: OpenCV inflates them, and prints them to standard output.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    header : Header
    transparent : bool
        Whether a chunk makes some of its colours transparent.
    drawn : bytes
        What a decoder is to see; no longer than the file.

    Raises
    ------
    PngError
        If it is cut, damaged where only this function looks, or cannot hold its pixels.
    """
    header = read_header(data[:HEAD])
    compressed, transparent, left_out = 0, False, False
    kept: list[tuple[int, int]] = []
    end = 0
    for kind, start, stop in _chunks(data):
        if kind == b"IDAT":
            compressed += stop - start - _OVERHEAD
        elif kind not in _DRAWN:
            _require_ancillary(data, kind, start, stop)
            transparent |= kind == b"tRNS"
            left_out = True
            continue
        # One piece where they follow one another: a chunk may be of twelve bytes.
        kept[-1:] = [(kept[-1][0], stop)] if kept and end == start else [*kept[-1:], (start, stop)]
        end = stop
    if not header.fits(compressed):
        raise PngError(
            f"{compressed} compressed bytes, too few for {header.width} x {header.height} pixels"
        )
    if not left_out and end == len(data):
        return header, transparent, data
    view = memoryview(data)
    return header, transparent, b"".join([data[:8], *(view[a:b] for a, b in kept)])


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, stop) of each chunk up to the end chunk; each lies within the file."""
    start, length = len(_SIGNATURE), len(data)
    while start + _OVERHEAD <= length:
        size, kind = struct.unpack_from(">I4s", data, start)
        stop = start + _OVERHEAD + size
        if stop > length:
            left = length - start - _OVERHEAD
            raise PngError(f"chunk {kind!r} at byte {start} claims {size} bytes, {left} are left")
        yield kind, start, stop
        if kind == b"IEND":
            return
        start = stop
    raise PngError(f"no end chunk in {length} bytes")


def _require_ancillary(data: bytes, kind: bytes, start: int, stop: int) -> None:
    """Require of a chunk that is left out that nothing of the pixels is lost with it."""
    # The fifth bit of a name's first letter says that a decoder may pass over the chunk.
    if not kind.isalpha() or not kind[0] & 32:
        raise PngError(f"chunk {kind!r} at byte {start}, which no PNG has")
    if kind in (b"acTL", b"fcTL", b"fdAT"):
        raise PngError(f"an animation (chunk {kind!r}), expected one picture")
    # A damaged name makes such a chunk of one with pixels; its checksum covers the name.
    _require_checksum(data, kind, start, stop)


def _require_checksum(data: bytes, kind: bytes, start: int, stop: int) -> None:
    found = zlib.crc32(memoryview(data)[start + 4 : stop - 4])
    if found != int.from_bytes(data[stop - 4 : stop], "big"):
        raise PngError(f"chunk {kind!r} at byte {start} does not have its checksum")


def why_undecodable(data: bytes) -> str:
    """Return what is wrong with a file that a decoder gave up, as :func:`checked_png` left it.

    Takes no more memory than the file.
    """
    try:
        header, found, inflate = read_header(data[:HEAD]), 0, zlib.decompressobj()
        for kind, start, stop in _chunks(data):
            _require_checksum(data, kind, start, stop)
            if kind == b"IDAT":
                found += _inflated(inflate, data[start + 8 : stop - 4], header.packed - found)
    except (PngError, zlib.error) as error:
        return str(error)
    if found < header.packed:
        return f"{found} bytes of pixels, expected {header.packed}"
    return "its checksums hold, and OpenCV refused it"


def _inflated(inflate: "zlib._Decompress", data: bytes, wanted: int) -> int:
    """Return how many bytes a piece of a stream inflates to, counted up to those wanted."""
    found = 0
    while data and found < wanted and not inflate.eof:
        found += len(inflate.decompress(data, 2**16))
        data = inflate.unconsumed_tail
    return found
