"""Flows and frames as text: images of common formats in base64.

A flow is a grey PNG of 16 bits, its planes one below the other: u, v, and of a label whether it is
known. A pixel is 2^15 + the component / step, as in KITTI's ground truth (the readme of its
development kit), whose step is always 1/64 px; here it is a power of two that divides the longest
component by 512 at least, finer than colours tell apart. Frames are JPEG.
"""

import base64
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVELS", "flow_from_text", "flow_text", "frame_text", "frames_from_text"]

LEVELS = 1023
"""Most steps of a component of flow; of the longest one there are more than half of them."""

_ZERO = 2**15
_MOST_PIXELS = 2**26
_QUALITY = 90
_COMPRESSION = 3


def flow_text(
    flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
) -> tuple[float, str]:
    """Return a flow's step, px, and its image.

    Parameters
    ----------
    flow : numpy.ndarray
        Shape (h, w, 2), float32, px; what is not finite is shown as none.
    valid : numpy.ndarray, optional
        Shape (h, w), bool: the third plane, of a label.
    """
    # A score is finite all the same where only pixels that are not scored are not.
    flow = np.where(np.isfinite(flow), flow, np.float32(0))
    longest = float(np.abs(flow).max(initial=0.0)) or 1.0
    step = 2.0 ** math.ceil(math.log2(longest / LEVELS))
    planes = [np.rint(flow[..., i].astype(np.float64) / step) + _ZERO for i in (0, 1)]
    planes += [] if valid is None else [valid]
    return step, _text(np.concatenate(planes).astype(np.uint16), "PNG", compress_level=_COMPRESSION)


def flow_from_text(
    text: str, step: float, size: tuple[int, int], *, label: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a flow, (h, w, 2), float32, px, and where it is known, (h, w), bool.

    Parameters
    ----------
    size : tuple of int
        (h, w), px.
    label : bool
        Whether a plane says where it is known; what is predicted is known everywhere.

    Raises
    ------
    ValueError
        If it is another image.
    """
    height, width = size
    planes = 3 if label else 2
    image = _opened(text, "PNG", ("I;16", "I"))  # by Pillow's version
    if (image.height, image.width) != (planes * height, width) or not step > 0:
        found = f"{image.height} x {image.width} and a step of {step} px"
        msg = f"expected a flow of {planes} planes of {height} x {width} px, found {found}"
        raise ValueError(msg)
    parts = _pixels(image).astype(np.float64).reshape(planes, height, width)
    flow = np.stack([(plane - _ZERO) * step for plane in parts[:2]], axis=-1).astype(np.float32)
    return flow, parts[2] != 0 if label else np.ones(size, np.bool_)


def frame_text(frame: NDArray[np.uint8]) -> str:
    """Return the image of a frame, (H, W, 3), BGR."""
    rgb = np.ascontiguousarray(frame[..., ::-1])
    return _text(rgb, "JPEG", quality=_QUALITY, subsampling=0)


def frames_from_text(texts: tuple[str, str]) -> NDArray[np.uint8]:
    """Return two frames of one size, (H, W, 6), BGR of both.

    Raises
    ------
    ValueError
        If they are other images.
    """
    images = [_opened(text, "JPEG", ("RGB",)) for text in texts]
    first, second = (f"{image.height} x {image.width} px" for image in images)
    if first != second:
        msg = f"the first frame is of {first}, the second of {second}, expected one size"
        raise ValueError(msg)
    return np.concatenate([_pixels(image)[..., ::-1] for image in images], axis=-1)


def _text(pixels: NDArray[Any], kind: str, **options: Any) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind, **options)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _opened(text: str, kind: str, modes: tuple[str, ...]) -> Any:
    """Open an image of a kind, and of no more pixels than are taken; none of them is read yet."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=[kind])
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        msg = f"a picture is no {kind}: {type(error).__name__}"
        raise ValueError(msg) from None
    if image.mode not in modes or image.width * image.height > _MOST_PIXELS:
        msg = f"a picture of {image.height} x {image.width} px, mode {image.mode}, is none of ours"
        raise ValueError(msg)
    return image


def _pixels(image: Any) -> NDArray[Any]:
    try:
        return np.asarray(image)
    except (OSError, SyntaxError) as error:
        msg = f"a picture is damaged: {error}"
        raise ValueError(msg) from None
