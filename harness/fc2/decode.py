"""Files to arrays, through OpenCV with its traps closed first.

OpenCV accepts trailing bytes in a .flo file, answers ``None`` for a truncated file or a
wrong magic, and crashes the process on a negative width in the header. All three are
checked before it reads.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.digest import digest_bytes
from harness.fc2.errors import SampleError
from harness.fc2.layout import Triplet

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
        If it does not decode, or is not 8-bit with three channels.
    """
    content = path.read_bytes() if data is None else data
    image = None
    if content:  # OpenCV asserts on an empty buffer
        try:
            # Unchanged, or OpenCV makes 8-bit BGR of 16 bits, of grey and of alpha in silence.
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:  # more pixels in the header than OpenCV accepts
            image = None
    if image is None:
        raise SampleError(path, "an image", f"{len(content)} bytes that do not decode")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise SampleError(path, "8-bit BGR (H, W, 3)", f"{image.dtype} {image.shape}")
    return np.asarray(image, dtype=np.uint8)


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
    content = path.read_bytes() if data is None else data
    if content[:4] != _MAGIC:
        raise SampleError(path, f"the .flo magic {_MAGIC!r}", repr(content[:4]))
    if len(content) < _HEADER:
        raise SampleError(path, f"a header of {_HEADER} bytes", f"{len(content)} bytes")
    width, height = struct.unpack("<ii", content[4:_HEADER])
    if width <= 0 or height <= 0:
        raise SampleError(path, "positive width and height", f"{width} x {height}")
    length = _HEADER + 8 * width * height
    if len(content) != length:
        raise SampleError(path, f"{length} bytes for {width} x {height}", f"{len(content)} bytes")
    # OpenCV reads flow from a file alone, and takes no Path.
    flow = cv2.readOpticalFlow(str(path))
    if flow is None or flow.shape != (height, width, 2):
        shape = None if flow is None else flow.shape
        raise SampleError(path, f"flow of shape {(height, width, 2)}", f"{shape} from OpenCV")
    # NaN is no unknown flow; `decode_triplet` would mask it as such.
    if np.isnan(flow).any():
        row, column = np.argwhere(np.isnan(flow).any(axis=-1))[0]
        raise SampleError(path, "no NaN in the flow", f"NaN at row {row}, column {column}")
    return np.asarray(flow, dtype=np.float32)


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
    valid = np.asarray((np.abs(flow) <= UNKNOWN_FLOW).all(axis=-1), np.bool_)
    flow[~valid] = 0.0
    return Decoded(np.concatenate([first, second], axis=-1), flow, valid, digest_bytes(*blobs))


def fingerprint(triplet: Triplet) -> str:
    """Return the digest of the three files' bytes, as :attr:`Decoded.content`."""
    return digest_bytes(*_blobs(triplet))


def _blobs(triplet: Triplet) -> list[bytes]:
    return [path.read_bytes() for path in (triplet.img_0, triplet.img_1, triplet.flow)]
