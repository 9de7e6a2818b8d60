"""A synthetic stand-in for FlyingChairs2, with exact flow at every pixel.

A textured background and several textured shapes each move by an affine motion of their own.
Textures and outlines are functions on the plane: the first frame evaluates them at its pixels,
the second at its pixels moved back. The flow is the motion itself, no frame a warped copy.

A sample is a function of (seed, index). Every step that decides a pixel adds, multiplies,
divides, rounds or takes a square root of single numbers, which IEEE 754 defines exactly.
Sines, matrix products and array sums, whose last bits vary between processors, do not occur.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.bars import Bar, bar
from harness.fc2.layout import MEMBERS, member_name
from harness.streams import integer, raw
from harness.whole import list_entries, whole_folder

__all__ = ["LOOKS", "SMALLEST", "Look", "Sample", "make_sample", "write_dataset", "write_sample"]

_Bytes = NDArray[np.uint8]
_Singles = NDArray[np.float32]
_Floats = NDArray[np.float64]
_Real = TypeVar("_Real", float, _Floats)

# Above every training sample's: a number selects what is drawn, and the splits share none.
_FIRST_VAL = 1_000_000
SMALLEST = 16
"""Height and width of the smallest frame that can be made, px."""

_TEXELS_PER_PX = (0.55, 0.85)  # below 1, so that the finest grain survives bilinear warping


@dataclass(frozen=True)
class Sample:
    """Two frames and the exact flow between them.

    Attributes
    ----------
    img_0, img_1 : numpy.ndarray
        Frames, shape ``(H, W, 3)``, dtype uint8, channels blue, green, red.
    flow : numpy.ndarray
        Motion of the surface at every pixel of the first frame, in px, rightward then
        downward; shape ``(H, W, 2)``, dtype float32.
    occluded : numpy.ndarray
        Whether the surface seen in the first frame is, in the second, behind another or
        beyond the outermost pixel centres; shape ``(H, W)``, dtype bool.
    """

    img_0: _Bytes
    img_1: _Bytes
    flow: _Singles
    occluded: NDArray[np.bool_]


_Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How scenes look and how much the camera moves.

    Attributes
    ----------
    camera : (float, float)
        Range of the background's shift, as a share of the largest motion.
    rough : (float, float)
        Range of how much stronger each finer octave of a texture is.
    palette : three of (float, float)
        Ranges of a layer's mean, of its contrast in brightness, and in hue, of 255.
    """

    camera: _Range
    rough: _Range
    palette: tuple[_Range, _Range, _Range]


LOOKS = {
    "varied": Look((0, 0.24), (0.75, 1.1), ((65, 190), (25, 75), (-60, 60))),
    "even": Look((0.2, 0.65), (1.9, 2.0), ((120, 135), (50, 75), (-20, 20))),
}
"""``varied`` looks like FlyingChairs. ``even`` has mid-grey layers of fine texture and a moving
camera: small nets find its motion within minutes, where ``varied`` takes them hours."""


@dataclass(frozen=True)
class _Layer:
    """A surface drawn around 0 and first shown around `centre`; no corners, no bounds.

    Its motion takes a point p to p + stretch * (p - centre) + shift.
    """

    centre: complex
    stretch: complex
    shift: complex
    reach: float
    corners: list[complex]
    grain: complex  # turns and scales px into texels
    raster: _Singles
    palette: _Singles

    def local(self, x: _Floats, y: _Floats, frame: int) -> tuple[_Floats, _Floats]:
        """Find the place on the surface at (x, y) of the first frame (0) or the second (1)."""
        origin, scale = self.centre + frame * self.shift, 1 + frame * self.stretch
        size = scale.real * scale.real + scale.imag * scale.imag
        back = complex(scale.real / size, -scale.imag / size)
        return _times(back, x - origin.real, y - origin.imag)

    def covers(self, x: _Floats, y: _Floats, frame: int) -> NDArray[np.bool_]:
        if not self.corners:
            return np.ones(x.shape, bool)
        origin = self.centre + frame * self.shift
        reach = self.reach * (1 + frame * (abs(self.stretch.real) + abs(self.stretch.imag)))
        covered = (np.abs(x - origin.real) <= reach) & (np.abs(y - origin.imag) <= reach)
        x, y = self.local(x[covered], y[covered], frame)
        inside = np.zeros(x.shape, bool)
        for a, b in zip(self.corners, self.corners[1:] + self.corners[:1], strict=True):
            edge = b - a  # even-odd rule: count the edges to the right of the point
            side = (x - a.real) * edge.imag < (y - a.imag) * edge.real
            inside ^= ((y < a.imag) != (y < b.imag)) & (side == (edge.imag > 0))
        covered[covered] = inside
        return covered

    def paint(self, image: _Bytes, x: _Floats, y: _Floats, frame: int) -> NDArray[np.intp]:
        """Paint the layer over `image`, shape (pixels, 3), and return the pixels it took."""
        taken = np.flatnonzero(self.covers(x, y, frame))
        value = _bilinear(self.raster, *_times(self.grain, *self.local(x[taken], y[taken], frame)))
        shade = self.palette[0] + value[:, :1] * self.palette[1] + value[:, 1:] * self.palette[2]
        image[taken] = np.rint(shade).clip(0, 255)
        return taken


def make_sample(
    *, height: int, width: int, seed: int, index: int, max_motion: float | None = None,
    look: Look = LOOKS["varied"],
) -> Sample:  # fmt: skip
    """Render one sample, a function of its arguments alone.

    Parameters
    ----------
    height, width : int
        Size of the frames in px, at least 16 each.
    seed, index : int
        Non-negative counters that select the sample.
    max_motion : float, optional
        No pixel moves further, in px. By default an eighth of the geometric mean of height
        and width, for magnitudes like those of FlyingChairs.
    look : Look, default ``LOOKS["varied"]``
        Ranges that textures, colours and the camera's motion are drawn from.

    Raises
    ------
    ValueError
        If a size is below 16, a counter negative, or `max_motion` negative or not finite.
    """
    for name, value in (("height", height), ("width", width)):
        _require(value >= SMALLEST, f"`{name}` must be at least {SMALLEST} px, got {value}")
    limit = 0.125 * math.sqrt(height * width) if max_motion is None else max_motion
    _require(0 <= limit < math.inf, f"`max_motion` must be finite and at least 0, got {limit}")
    count = 6 + integer(seed, "synthetic/count", 0, index, below=[5])[0]
    layers = [_draw_layer((seed, n, index), height, width, limit, look) for n in range(count)]
    return _render(layers, height, width)


def write_sample(folder: Path, index: int, sample: Sample) -> None:
    """Write the three files of sample number `index` (0 to 9,999,999) into `folder`.

    `folder` must exist; files of that number are replaced. `occluded` is not written.

    Raises
    ------
    ValueError, OSError
        If `index` does not fit seven digits; if a file cannot be written.
    """
    _require(0 <= index < 10**7, f"`index` must have at most seven digits, got {index}")
    contents = (_png(sample.img_0), _png(sample.img_1), _flo(sample.flow))
    for member, content in zip(MEMBERS, contents, strict=True):
        (folder / member_name(index, member)).write_bytes(content)


def write_dataset(out: Path, *, train: int, val: int, height: int = 384, width: int = 512,
                  seed: int = 0, look: str = "varied", workers: int = 2,
                  progress: bool = False) -> None:  # fmt: skip
    """Write ``out/train`` and ``out/val`` in the layout of FlyingChairs2, whole or not at all.

    Training samples are numbered from 0 and validation samples from 1,000,000. A sample's
    number is also its index in `make_sample`, so that the splits share none.

    Parameters
    ----------
    out : pathlib.Path
        Folder for both splits, created if absent. A split that holds the very same samples is
        as good as written.
    train, val, workers : int
        Samples of each split and threads, at least 1. No byte depends on `workers`.
    height, width, seed : int
        As for `make_sample`; sizes in px.
    look : {"varied", "even"}, default "varied"
        Key of :data:`LOOKS`.
    progress : bool, default False
        Show a progress bar if standard error is a terminal.

    Raises
    ------
    ValueError
        If a count, size, seed or look is out of range.
    FileExistsError, OSError
        If a split's folder holds anything else already; if a file cannot be written.
    """
    counts = {"train": (train, _FIRST_VAL), "val": (val, _FIRST_VAL), "workers": (workers, 1024)}
    for name, (value, most) in counts.items():
        _require(1 <= value <= most, f"`{name}` must be between 1 and {most}, got {value}")

    _require(look in LOOKS, f"`look` must be one of {', '.join(LOOKS)}, got {look!r}")
    scene = LOOKS[look]

    splits = {"train": range(train), "val": range(_FIRST_VAL, _FIRST_VAL + val)}

    def work(folder: Path, number: int) -> None:
        sample = make_sample(height=height, width=width, seed=seed, index=number, look=scene)
        write_sample(folder, number, sample)

    make_sample(height=height, width=width, seed=seed, index=0)  # refuses before files exist
    for split, numbers in splits.items():
        _require_free(out / split, numbers)
    with whole_folder(out) as aside, ThreadPoolExecutor(workers) as pool:
        for split in splits:
            (aside / split).mkdir()
        every = [(aside / split, number) for split, numbers in splits.items() for number in numbers]
        done = pool.map(work, *zip(*every, strict=True))
        with bar(len(every), "samples") if progress else nullcontext(Bar()) as drawn:
            for _ in done:
                drawn.advance(1)


def _require_free(folder: Path, numbers: range) -> None:
    """Refuse a folder of other files than will be written; whether they are equal, shows then."""
    found = list_entries(folder) if folder.exists() else []
    same = found == sorted(member_name(number, member) for number in numbers for member in MEMBERS)
    message = f"{folder} already holds files; empty it or choose another"
    _require(not found or same, message, FileExistsError)


def _png(frame: _Bytes) -> bytes:
    # Encoded in memory: OpenCV, writing to a full disk, may leave half a file and report success.
    done, content = cv2.imencode(".png", frame)
    _require(done is True, "OpenCV could not encode a frame as PNG", RuntimeError)
    return content.tobytes()


def _flo(flow: _Singles) -> bytes:
    """Return Middlebury's format: a tag, width, height and (u, v) of each pixel, row by row."""
    height, width, _ = flow.shape
    sizes = np.array([width, height], "<i4")
    return b"PIEH" + sizes.tobytes() + flow.astype("<f4", copy=False).tobytes()


def _require(valid: bool, message: str, error: type[Exception] = ValueError) -> None:
    if not valid:
        raise error(message)


def _render(layers: list[_Layer], height: int, width: int) -> Sample:
    """Paint the layers from the lowest to the topmost, which overwrites all below it."""
    y, x = (axis.ravel() for axis in np.indices((height, width), np.float64))
    frames = np.empty((2, x.size, 3), np.uint8)
    flow, lost = np.empty((x.size, 2), np.float32), np.empty(x.size, bool)
    for number, layer in enumerate(layers):
        layer.paint(frames[1], x, y, 1)
        seen = layer.paint(frames[0], x, y, 0)
        u, v = _times(layer.stretch, *layer.local(x[seen], y[seen], 0))
        flow[seen, 0], flow[seen, 1] = u, v = u + layer.shift.real, v + layer.shift.imag
        to_x, to_y = x[seen] + u, y[seen] + v
        gone = (to_x < 0) | (to_x > width - 1) | (to_y < 0) | (to_y > height - 1)
        for above in layers[number + 1 :]:
            gone |= above.covers(to_x, to_y, 1)
        lost[seen] = gone
    img_0, img_1 = frames.reshape(2, height, width, 3)
    return Sample(img_0, img_1, flow.reshape(height, width, 2), lost.reshape(height, width))


def _bilinear(raster: _Singles, u: _Floats, v: _Floats) -> _Singles:
    """Interpolate a periodic raster, whose side is a power of two."""
    side, texels = len(raster), raster.reshape(-1, 2)
    points = np.stack((u, v))
    corner = np.floor(points)
    along, down = (points - corner).astype(np.float32)[..., None]
    columns, rows = np.stack((corner, corner + 1), 1).astype(np.int64) & (side - 1)
    a, b, c, d = (texels.take(side * row + column, 0) for row in rows for column in columns)
    above, below = a + along * (b - a), c + along * (d - c)
    return np.asarray(above + down * (below - above), np.float32)


def _times(z: complex, x: _Real, y: _Real) -> tuple[_Real, _Real]:
    """Multiply z by x + iy, spelled out because compiled complex products may be fused."""
    return z.real * x - z.imag * y, z.real * y + z.imag * x


def _direction(turn: float) -> complex:
    """Return a unit vector; a turn from 0 to 1 goes round, evenly along a diamond."""
    place = 4 * (turn % 1)
    # Neither sine nor cosine: their last bits vary between processors.
    x, y = abs(place - 2) - 1, 1 - abs((place + 1) % 4 - 2)
    return complex(x, y) / math.sqrt(x * x + y * y)


def _draw_layer(
    key: tuple[int, int, int], height: int, width: int, limit: float, look: Look
) -> _Layer:
    seed, number, index = key
    draws = iter((raw(seed, "synthetic/layer", number, index, size=64) >> 11) * 2.0**-53)

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(next(draws))

    if number == 0:
        reach, boldness = math.sqrt(height**2 + width**2) / 2, between(*look.camera)
        centre, corners = complex(width / 2, height / 2), []
    else:
        reach, boldness = math.sqrt(height * width) * between(0.08, 0.27), between(0, 0.65)
        centre = complex(width * between(0.05, 0.95), height * between(0.05, 0.95))
        corners = _draw_corners(between, reach)
    # 0.35 of the limit for the stretch and 0.65 for the shift: together nothing moves further.
    stretch = min(between(0, 0.35) * limit / reach, 0.25) * _direction(between(0, 1))
    shift = boldness * limit * _direction(between(0, 1))
    grain = between(*_TEXELS_PER_PX) * _direction(between(0, 1))
    texels = min(2 * reach, max(height, width)) * _TEXELS_PER_PX[1]
    raster = _draw_raster(key, texels, between(*look.rough), between(0.6, 1.6))
    palette = np.array([[between(*r) for _ in range(3)] for r in look.palette], np.float32)
    return _Layer(centre, stretch, shift, reach, corners, grain, raster, palette)


def _draw_corners(between: Callable[[float, float], float], reach: float) -> list[complex]:
    """Draw the outline of a star, an irregular polygon, a rectangle, an ellipse or a ring."""
    kind, count, flat = int(between(0, 5)), int(between(5, 9)), between(0.35, 1)
    if kind == 0:
        corners = [(1 - 0.6 * flat * (k % 2)) * _direction(k / count / 2) for k in range(2 * count)]
    elif kind == 1:
        corners = [between(0.4, 1) * _direction(k / count) for k in range(count)]
    elif kind == 2:
        # 0.7 of (1, 1) is still within the reach, which the stretch is measured by.
        corners = [0.7 * complex(x, y * flat) for x, y in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
    else:
        corners = [complex(z.real, flat * z.imag) for z in (_direction(k / 32) for k in range(32))]
        if kind == 4:  # a ray crosses the way to the inner outline and back alike
            corners += [corners[0], *(0.55 * z for z in corners), 0.55 * corners[0]]
    tilt = _direction(between(0, 1))
    return [reach * complex(*_times(tilt, z.real, z.imag)) for z in corners]


def _draw_raster(key: tuple[int, int, int], texels: float, rough: float, gain: float) -> _Singles:
    """Draw two planes of periodic noise in (-1, 1), shape (side, side, 2), octave by octave."""
    amplitude, power = 1.0, 0.0
    plane: _Singles = np.zeros((2, 4, 4), np.float32)
    while (cells := plane.shape[1]) < max(texels, 16):
        # 24 bits, all of which float32 holds.
        noise = raw(key[0], f"synthetic/octave{cells}", *key[1:], size=plane.size) >> 40
        plane += amplitude * (noise.astype(np.float32) * 2.0**-23 - 1).reshape(plane.shape)
        # A third is the variance of what is uniform in (-1, 1).
        power, amplitude = power + amplitude * amplitude / 3, amplitude * rough
        for axis in (1, 2):  # Chaikin's subdivision, whose limit is a quadratic spline
            fine = np.repeat(plane, 2, axis)
            plane = (np.roll(fine, 1, axis) + 2 * fine + np.roll(fine, -1, axis)) * np.float32(0.25)
    plane *= gain / math.sqrt(power)
    # Bent to (-1, 1) by a square root, which IEEE 754 defines exactly, as it does not tanh.
    return np.ascontiguousarray((plane / np.sqrt(1 + plane * plane)).transpose(1, 2, 0))
