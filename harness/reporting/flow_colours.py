"""Flow and errors as colours.

Flow has the usual colours of Baker, Scharstein, Lewis, Roth, Black and Szeliski, "A Database and
Evaluation Methodology for Optical Flow" (IJCV 92, 2011): the hue is the direction, on a circle of
55 hues that are closer together where the eye tells them apart less, and the saturation the length.
"""

import io

import numpy as np
from numpy.typing import NDArray

__all__ = ["error_image", "flow_image", "jpeg", "mask_image", "png", "wheel_image"]

Image = NDArray[np.uint8]
_CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))
_STEPS = (15, 6, 4, 11, 13, 6)
"""Red to yellow, green, cyan, blue, magenta and red again, and the hues from one to the next."""
_BEYOND = 0.75
"""Brightness of what is longer than the longest of the scale."""
_ROUNDING = 1e-6
_UNKNOWN = (128, 128, 128)


def _circle() -> NDArray[np.float64]:
    """Return the hues, shape (55, 3), from 0 to 1."""
    ends = (*_CORNERS[1:], _CORNERS[0])
    # Whole steps away from where each part begins, as the original counts them.
    parts = [
        start + np.trunc(np.subtract(end, start) * np.arange(steps)[:, None] / steps)
        for start, end, steps in zip(_CORNERS, ends, _STEPS, strict=True)
    ]
    return np.asarray(np.concatenate(parts) / 255, np.float64)


def flow_image(
    flow: NDArray[np.float32], longest: float, valid: NDArray[np.bool_] | None = None
) -> Image:
    """Return flow as RGB, shape (H, W, 3), uint8: white is none, red to the right, yellow down.

    Parameters
    ----------
    flow : numpy.ndarray
        Shape (H, W, 2), float32, px: u to the right, v down.
    longest : float
        Length of full saturation, px; what is longer is darker.
    valid : numpy.ndarray, optional
        Shape (H, W), bool: unknown flow is grey.

    Raises
    ------
    ValueError
        If `longest` is not above 0.
    """
    if not longest > 0:
        msg = f"the longest flow of a scale must be above 0 px, got {longest}"
        raise ValueError(msg)
    u, v = (flow[..., i].astype(np.float64) / longest for i in (0, 1))
    hues, length = _circle(), np.hypot(u, v)[..., None]
    # Straight to the right is where the circle begins, whichever sign a 0 has.
    turn = (np.arctan2(np.where(v == 0, -0.0, -v), -u) / np.pi + 1) / 2 * (len(hues) - 1)
    low = np.floor(turn).astype(int)
    share = (turn - low)[..., None]
    hue = (1 - share) * hues[low % len(hues)] + share * hues[(low + 1) % len(hues)]
    # The longest itself is not beyond, whichever way its length was rounded.
    within = 1 - np.minimum(length, 1) * (1 - hue)
    colour = np.where(length <= 1 + _ROUNDING, within, hue * _BEYOND)
    image: Image = np.floor(255 * colour).astype(np.uint8)
    if valid is not None:
        image[~valid] = _UNKNOWN
    return image


def wheel_image(side: int = 121) -> Image:
    """Return the colours of all directions and lengths, (side, side, 3): the key to the others."""
    middle = (side - 1) / 2
    v, u = (axis - middle for axis in np.mgrid[0:side, 0:side].astype(np.float64))
    flow = np.stack([u, v], axis=-1).astype(np.float32)
    image = flow_image(flow, middle)
    image[np.hypot(u, v) > middle] = 255
    return image


def error_image(error: NDArray[np.float64], largest: float, valid: NDArray[np.bool_]) -> Image:
    """Return errors as RGB in the colours of cividis, dark 0 and light `largest`; unknown: grey.

    Parameters
    ----------
    error : numpy.ndarray
        Shape (H, W), px.
    largest : float
        End of the scale, px.
    valid : numpy.ndarray
        Shape (H, W), bool.
    """
    from matplotlib import colormaps

    share = error / largest if largest > 0 else np.zeros_like(error)
    shades = colormaps["cividis"](np.clip(share, 0, 1), bytes=True)
    image = np.array(shades[..., :3], np.uint8)
    image[~valid] = _UNKNOWN
    return image


def mask_image(valid: NDArray[np.bool_]) -> Image:
    """Return where flow is known, white, and where it is not, black."""
    found: Image = np.repeat(np.where(valid, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
    return found


def png(image: Image) -> bytes:
    """Return an RGB image as a PNG file."""
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def jpeg(image: Image, side: int, quality: int = 80) -> bytes:
    """Return an RGB image as a JPEG file for a page of many, with no side longer than `side` px."""
    from PIL import Image as Pillow

    picture = Pillow.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((side, side))
    file = io.BytesIO()
    # Colours at full resolution: they are what is shown.
    picture.save(file, format="JPEG", quality=quality, subsampling=0, optimize=True)
    return file.getvalue()
