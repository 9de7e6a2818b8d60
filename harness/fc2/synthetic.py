"""A synthetic stand-in for FlyingChairs2, with exact flow at every pixel.

A textured background and several textured shapes each move by an affine motion of their
own (rotation, zoom, translation). Textures and outlines are functions on the plane: the
first frame evaluates them at its pixels, the second at its pixels moved back. The flow is
therefore the motion itself, known to the last bit, and neither frame is a warped copy.

A sample is a function of (seed, index). Every step that decides a pixel adds, multiplies,
divides, rounds or takes a square root element by element, which IEEE 754 defines exactly.
Sines, matrix products and sums, whose bits vary between processors, do not occur.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harness.fc2.layout import member_name
from harness.streams import integer, raw

__all__ = ["Sample", "make_sample", "write_dataset", "write_sample"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SMALLEST = 16
_FIRST_VAL = 1_000_000
_LAST_NUMBER = 9_999_999
_FEWEST_SHAPES, _MOST_SHAPES = 5, 9
_COARSEST = 4  # cells across a texture at its first octave
_TEXELS_PER_PX = (0.55, 0.85)  # below 1: the finest grain spans some 3 px and survives warping


@dataclass(frozen=True)
class Sample:
    """Two frames and the exact flow between them.

    Attributes
    ----------
    img_0, img_1 : numpy.ndarray
        Frames, shape ``(H, W, 3)``, dtype uint8, channels blue, green, red.
    flow : numpy.ndarray
        Displacement of every pixel of frame 1 to frame 2 in px, shape ``(H, W, 2)``,
        dtype float32, rightward then downward.
    occluded : numpy.ndarray
        Shape ``(H, W)``, dtype bool. True where the surface seen in frame 1 is, in
        frame 2, behind another one or beyond the outermost pixel centres.
    """

    img_0: NDArray[np.uint8]
    img_1: NDArray[np.uint8]
    flow: NDArray[np.float32]
    occluded: Mask


@dataclass(frozen=True)
class _Motion:
    """Similarity of the plane; `stretch` plus 1 is its rotation and zoom as one number."""

    centre: complex
    stretch: complex
    shift: complex

    def displacement(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        re, im = self.stretch.real, self.stretch.imag
        dx, dy = x - self.centre.real, y - self.centre.imag
        return re * dx - im * dy + self.shift.real, im * dx + re * dy + self.shift.imag

    def inverse(self) -> "_Motion":
        re, im = 1 + self.stretch.real, self.stretch.imag
        size = re * re + im * im
        stretch = complex(re / size - 1, -im / size)
        return _Motion(self.centre + self.shift, stretch, -self.shift)


@dataclass(frozen=True)
class _Layer:
    """One surface; coordinates are those of frame 1.

    `corners` lie relative to the centre. Without corners the layer covers the plane.
    """

    motion: _Motion
    reach: float
    corners: tuple[complex, ...]
    hole: float
    raster: NDArray[np.float32]
    grain: complex
    palette: NDArray[np.float32]

    def back(self, x: Floats, y: Floats, frame: int) -> tuple[Floats, Floats]:
        """Coordinates in frame 1 of what this layer shows at (x, y) of `frame` (0 or 1)."""
        if frame == 0:
            return x, y
        u, v = self.motion.inverse().displacement(x, y)
        return x + u, y + v

    def covers(self, x: Floats, y: Floats, frame: int) -> Mask:
        if not self.corners:
            return np.ones(x.shape, bool)
        middle = self.motion.centre + frame * self.motion.shift
        reach = self.reach * (1 + frame * abs(self.motion.stretch))
        covered = (np.abs(x - middle.real) <= reach) & (np.abs(y - middle.imag) <= reach)
        near_x, near_y = self.back(x[covered], y[covered], frame)
        dx, dy = near_x - self.motion.centre.real, near_y - self.motion.centre.imag
        inside = _inside(self.corners, dx, dy)
        if self.hole:
            inside &= ~_inside(tuple(self.hole * corner for corner in self.corners), dx, dy)
        covered[covered] = inside
        return covered

    def colour(self, x: Floats, y: Floats, frame: int) -> NDArray[np.uint8]:
        x, y = self.back(x, y, frame)
        re, im = self.grain.real, self.grain.imag
        value = _bilinear(self.raster, re * x - im * y, im * x + re * y)
        base, first, second = self.palette
        shade = base + value[:, :1] * first + value[:, 1:] * second
        return np.clip(np.rint(shade), 0, 255).astype(np.uint8)


def make_sample(
    *, height: int, width: int, seed: int, index: int, max_motion: float | None = None
) -> Sample:
    """Render one sample, a function of its arguments alone.

    Parameters
    ----------
    height, width : int
        Size of the frames in px, at least 16 each.
    seed, index : int
        Non-negative counters that select the sample.
    max_motion : float, optional
        No pixel moves further, in px. By default 0.14 times the geometric mean of height
        and width, 62 px at 384x512, which gives magnitudes like those of FlyingChairs.

    Returns
    -------
    Sample
        Frames and occlusion of shape ``(height, width)``, flow in px.

    Raises
    ------
    ValueError
        If a size is below 16, a counter negative, or `max_motion` negative or not finite.
    """
    for name, value in (("height", height), ("width", width)):
        if value < _SMALLEST:
            msg = f"`{name}` must be at least {_SMALLEST} px, got {value}"
            raise ValueError(msg)
    limit = 0.14 * math.sqrt(height * width) if max_motion is None else max_motion
    if not 0 <= limit < math.inf:
        msg = f"`max_motion` must be finite and non-negative, got {max_motion}"
        raise ValueError(msg)
    layers = _draw_layers(height, width, seed, index, limit)
    rows, columns = np.divmod(np.arange(height * width), width)
    x, y = columns.astype(np.float64), rows.astype(np.float64)
    owner = _topmost(layers, x, y, 0)
    flow, occluded = _track(layers, owner, x, y, (width - 1, height - 1))
    img_0 = _paint(layers, owner, x, y, 0)
    img_1 = _paint(layers, _topmost(layers, x, y, 1), x, y, 1)
    shape = (height, width)
    return Sample(
        img_0.reshape(*shape, 3),
        img_1.reshape(*shape, 3),
        flow.reshape(*shape, 2),
        occluded.reshape(shape),
    )


def write_sample(folder: Path, index: int, sample: Sample) -> None:
    """Write the three files of a sample into an existing folder, over those there.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of one split.
    index : int
        Number in the file names, from 0 to 9,999,999.
    sample : Sample
        What to write; `occluded` is not part of the layout and stays behind.

    Raises
    ------
    ValueError
        If `index` does not fit seven digits.
    OSError
        If a file cannot be written.
    """
    if not 0 <= index <= _LAST_NUMBER:
        msg = f"`index` must be between 0 and {_LAST_NUMBER}, got {index}"
        raise ValueError(msg)
    for member, write, content in (
        ("img_0.png", cv2.imwrite, sample.img_0),
        ("img_1.png", cv2.imwrite, sample.img_1),
        ("flow_01.flo", cv2.writeOpticalFlow, sample.flow),
    ):
        path = folder / member_name(index, member)
        if write(str(path), content) is not True:
            msg = f"could not write {path}"
            raise OSError(msg)


def write_dataset(
    out: Path,
    *,
    train: int,
    val: int,
    height: int = 384,
    width: int = 512,
    seed: int = 0,
    workers: int = 2,
    progress: bool = False,
) -> None:
    """Write ``out/train`` and ``out/val`` in the layout of FlyingChairs2.

    Training samples are numbered from 0, validation samples from 1,000,000. The number is
    also the index given to `make_sample`, so the splits share nothing and a larger data
    set begins with the smaller one.

    Parameters
    ----------
    out : pathlib.Path
        Folder for both splits, created if absent.
    train, val : int
        Samples of each split, at least 1.
    height, width : int
        Size of the frames in px, at least 16 each.
    seed : int
        Selects the data set, non-negative.
    workers : int, default 2
        Threads. The bytes do not depend on it.
    progress : bool, default False
        Show a progress bar where standard error is a terminal.

    Raises
    ------
    ValueError
        If a count is below 1 or above what its numbers allow, or a size or seed is refused
        by `make_sample`.
    FileExistsError
        If a split's folder already holds anything.
    OSError
        If a file cannot be written.
    """
    bounds = (("train", train, _FIRST_VAL), ("val", val, _LAST_NUMBER + 1 - _FIRST_VAL))
    for name, count, most in (*bounds, ("workers", workers, 1024)):
        if not 1 <= count <= most:
            msg = f"`{name}` must be between 1 and {most}, got {count}"
            raise ValueError(msg)
    make_sample(height=height, width=width, seed=seed, index=0)  # refuse before any file exists
    jobs = [(out / "train", i) for i in range(train)]
    jobs += [(out / "val", _FIRST_VAL + i) for i in range(val)]
    _prepare((out / "train", out / "val"))

    def work(job: tuple[Path, int]) -> None:
        folder, number = job
        sample = make_sample(height=height, width=width, seed=seed, index=number)
        write_sample(folder, number, sample)

    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(work, jobs)
        for _ in tqdm(done, total=len(jobs), unit="sample", disable=None if progress else True):
            pass


def _prepare(folders: tuple[Path, ...]) -> None:
    for folder in folders:
        if folder.exists() and any(folder.iterdir()):
            msg = f"{folder} already holds files; choose another folder or empty this one"
            raise FileExistsError(msg)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)


def _topmost(layers: list[_Layer], x: Floats, y: Floats, frame: int) -> NDArray[np.intp]:
    owner = np.zeros(x.shape, np.intp)
    for number, layer in enumerate(layers):
        owner[layer.covers(x, y, frame)] = number
    return owner


def _paint(
    layers: list[_Layer], owner: NDArray[np.intp], x: Floats, y: Floats, frame: int
) -> NDArray[np.uint8]:
    image = np.empty((*x.shape, 3), np.uint8)
    for number, layer in enumerate(layers):
        seen = np.flatnonzero(owner == number)
        image[seen] = layer.colour(x[seen], y[seen], frame)
    return image


def _track(
    layers: list[_Layer],
    owner: NDArray[np.intp],
    x: Floats,
    y: Floats,
    last: tuple[int, int],
) -> tuple[NDArray[np.float32], Mask]:
    flow = np.empty((*x.shape, 2), np.float32)
    hidden = np.zeros(x.shape, bool)
    for number, layer in enumerate(layers):
        seen = np.flatnonzero(owner == number)
        u, v = layer.motion.displacement(x[seen], y[seen])
        flow[seen, 0], flow[seen, 1] = u, v
        to_x, to_y = x[seen] + u, y[seen] + v
        gone = (to_x < 0) | (to_x > last[0]) | (to_y < 0) | (to_y > last[1])
        for above in layers[number + 1 :]:
            gone |= above.covers(to_x, to_y, 1)
        hidden[seen] = gone
    return flow, hidden


def _inside(corners: tuple[complex, ...], dx: Floats, dy: Floats) -> Mask:
    """Even-odd rule: count the edges that a ray to the right crosses."""
    inside = np.zeros(dx.shape, bool)
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        if a.imag != b.imag:
            slope = (b.real - a.real) / (b.imag - a.imag)
            inside ^= ((a.imag > dy) != (b.imag > dy)) & (dx < slope * (dy - a.imag) + a.real)
    return inside


def _bilinear(raster: NDArray[np.float32], u: Floats, v: Floats) -> NDArray[np.float32]:
    """Interpolate a periodic raster whose side is a power of two."""
    side = len(raster)
    texels = raster.reshape(-1, 2)
    left, top = np.floor(u), np.floor(v)
    fu, fv = ((u - left).astype(np.float32)[:, None], (v - top).astype(np.float32)[:, None])
    i0, j0 = left.astype(np.int64) & (side - 1), (top.astype(np.int64) & (side - 1)) * side
    i1, j1 = (i0 + 1) & (side - 1), (j0 + side) & (side * side - 1)
    above, below = texels.take(j0 + i0, 0), texels.take(j1 + i0, 0)
    above += fu * (texels.take(j0 + i1, 0) - above)
    below += fu * (texels.take(j1 + i1, 0) - below)
    return np.asarray(above + fv * (below - above), np.float32)
