"""Files to arrays: each file is read once, and what was digested is what is decoded.

Nothing is believed that a header says before it was held against the length of the file, so that
decoding takes no more memory than the file can fill. OpenCV sees bytes of a sound PNG and no path:
by path it takes folder names in UTF-8 alone, and reads a flow file without looking at its length.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.devices import SpecialFileError, open_regular
from harness.digest import digest_bytes
from harness.fc2.errors import SampleError
from harness.fc2.layout import Triplet
from harness.fc2.png import HEAD, Header, PngError, checked_png, read_header, why_undecodable

__all__ = [
    "UNKNOWN_FLOW",
    "Decoded",
    "decode_triplet",
    "fingerprint",
    "read_flow",
    "read_image",
]

UNKNOWN_FLOW = 1e9
"""Flow whose magnitude in px exceeds this is unknown (Middlebury's ``flowIO.h``)."""

_MAGIC = b"PIEH"
_HEADER = 12
_LARGEST = 2**30
"""Bytes of a file that are read where its header says nothing."""


@dataclass(frozen=True)
class Decoded:
    """One decoded sample, uncropped.

    Attributes
    ----------
    frames : numpy.ndarray
        Shape (H, W, 6), uint8: BGR of img_0, then BGR of img_1.
    flow : numpy.ndarray
        Shape (H, W, 2), float32, px: u to the right, v down; 0 where unknown.
    valid : numpy.ndarray
        Shape (H, W), bool: where the flow is known.
    content : str
        Digest of the three files' bytes.
    """

    frames: NDArray[np.uint8]
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]
    content: str


def read_image(path: Path, data: bytes | None = None) -> NDArray[np.uint8]:
    """Decode one 8-bit BGR image.

    Parameters
    ----------
    path : pathlib.Path
        The file, also named in errors.
    data : bytes, optional
        Its content where already read. Default: read the file.

    Returns
    -------
    numpy.ndarray
        Shape (H, W, 3), uint8, blue first.

    Raises
    ------
    SampleError
        If it is no PNG, does not decode, or is not 8-bit with three channels.
    MemoryError
        If its pixels do not fit; names the file.
    """
    content = _content(path) if data is None else data
    try:
        header, transparent, drawn = checked_png(content)
        # Before it is decoded: OpenCV makes 8-bit BGR of some of the others in silence.
        if transparent or header.colour not in (2, 3) or header.depth == 16:
            raise SampleError(path, "8-bit BGR (H, W, 3)", header.decoded(transparent))
        image = _decoded(path, header, drawn)
    except PngError as error:
        found = f"{len(content)} bytes that do not decode: {error}"
        raise SampleError(path, "an image", found) from None
    if image.dtype != np.uint8 or image.shape != (header.height, header.width, 3):
        raise SampleError(path, "8-bit BGR (H, W, 3)", f"{image.dtype} {image.shape}")
    return np.asarray(image, dtype=np.uint8)


def _decoded(path: Path, header: Header, drawn: bytes) -> NDArray[Any]:
    """Return the pixels of a file whose chunks and sizes were looked at.

    Raises
    ------
    MemoryError
        If there is none for the pixels; names the file.
    PngError
        If OpenCV gives the file up.
    """
    try:
        image = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            msg = f"{path}: no memory for {header.width} x {header.height} pixels"
            raise MemoryError(msg) from None
        # More pixels than OpenCV accepts.
        raise PngError(f"a header of {header.width} x {header.height} pixels") from None
    if image is None:
        raise PngError(why_undecodable(drawn))
    return np.asarray(image)


def read_flow(path: Path, data: bytes | None = None) -> NDArray[np.float32]:
    """Decode one Middlebury .flo file; unknown pixels keep their large values.

    Returns
    -------
    numpy.ndarray
        Shape (H, W, 2), float32, px.

    Raises
    ------
    SampleError
        On a wrong magic, a size that is not positive, a length that is not exactly
        12 + 8 * W * H bytes, or NaN.
    """
    content = _content(path) if data is None else data
    height, width = _flow_size(path, content[:_HEADER], len(content))
    # A copy, because the file's bytes are read-only and lie at an odd place.
    flow = np.frombuffer(content, "<f4", offset=_HEADER).reshape(height, width, 2).astype("<f4")
    # NaN is no unknown flow; `decode_triplet` would mask it as such.
    if np.isnan(flow).any():
        row, column = np.argwhere(np.isnan(flow).any(axis=-1))[0]
        raise SampleError(path, "no NaN in the flow", f"NaN at row {row}, column {column}")
    return np.asarray(flow, dtype=np.float32)


def _flow_size(path: Path, head: bytes, length: int) -> tuple[int, int]:
    """Return (height, width) of a flow file of so many bytes that begins like this."""
    if head[:4] != _MAGIC:
        raise SampleError(path, f"the .flo magic {_MAGIC!r}", repr(head[:4]))
    if len(head) < _HEADER:
        raise SampleError(path, f"a header of {_HEADER} bytes", f"{length} bytes")
    width, height = struct.unpack("<ii", head[4:])
    if width <= 0 or height <= 0:
        raise SampleError(path, "positive width and height", f"{width} x {height}")
    wanted = _HEADER + 8 * width * height
    if length != wanted:
        raise SampleError(path, f"{wanted} bytes for {width} x {height}", f"{length} bytes")
    return height, width


def decode_triplet(triplet: Triplet) -> Decoded:
    """Decode the three files of a sample and check that they fit one another.

    Raises
    ------
    SampleError
        On a bad file, or where sizes differ between the frames and the flow.
    """
    blobs = _blobs(triplet)
    first = read_image(triplet.img_0, blobs[0])
    second = read_image(triplet.img_1, blobs[1])
    flow = read_flow(triplet.flow, blobs[2])
    size = first.shape[:2]
    for path, array in ((triplet.img_1, second), (triplet.flow, flow)):
        if array.shape[:2] != size:
            raise SampleError(
                path,
                f"{size[0]} x {size[1]} (H x W) as img_0",
                f"{array.shape[0]} x {array.shape[1]}",
            )
    # Side by side: a reduction over two components takes ten times as long as the rest.
    known = np.abs(flow) <= UNKNOWN_FLOW
    valid = known[..., 0] & known[..., 1]
    if not valid.all():
        flow[~valid] = 0.0
    return Decoded(np.concatenate([first, second], axis=-1), flow, valid, digest_bytes(*blobs))


def fingerprint(triplet: Triplet) -> str:
    """Return the digest of the three files' bytes, as :attr:`Decoded.content`."""
    return digest_bytes(*_blobs(triplet))


def _blobs(triplet: Triplet) -> list[bytes]:
    return [_content(path) for path in (triplet.img_0, triplet.img_1, triplet.flow)]


def _content(path: Path) -> bytes:
    """Read a file once, and none that is longer than what its header says could fill.

    Raises
    ------
    SampleError
        If it is longer, or is no file: a pipe would be waited for.
    MemoryError
        If there is none for the file; names it.
    """
    try:
        with open_regular(path) as file:
            length = os.fstat(file.fileno()).st_size
            most = _most_bytes(path, file.read(HEAD), length)
            if length > most:
                raise SampleError(path, f"at most {most} bytes by its header", f"{length} bytes")
            file.seek(0)
            return file.read()
    except SpecialFileError as error:
        raise SampleError(path, "a file", error.kind) from None
    except OSError as error:
        # What a failing disk answers to a read has no name in it.
        error.filename = str(path)
        raise
    except MemoryError:
        msg = f"{path}: no memory for a file of {length} bytes"
        raise MemoryError(msg) from None


def _most_bytes(path: Path, head: bytes, length: int) -> int:
    """Return how long a file may be that begins like this."""
    if head[:4] == _MAGIC:
        _flow_size(path, head[:_HEADER], length)
        return length
    try:
        # Incompressible pixels in chunks of one byte each, and a profile.
        return 16 * read_header(head).packed + 2**24
    except PngError:
        return _LARGEST
