"""Expected beside found: how each kind of what a broken promise shows is drawn."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.shown import Flows, Frames, Masks, Orders, Shown, Values, Window, Windows
from harness.reporting.beside_tables import order_table, value_table
from harness.reporting.flow_colours import error_image, flow_image, mask_image
from harness.reporting.markup import note, safe
from harness.reporting.samples import picture
from harness.reporting.scatter import scatter

__all__ = ["STYLE", "drawn", "has_flow"]

Array = NDArray[Any]

STYLE = """
.trio { display: grid; gap: .8rem; max-width: 1100px;
        grid-template-columns: repeat(3, minmax(0, 1fr)); }
.trio figcaption { font-size: .85rem; }
.trio figcaption span { display: block; font-weight: 400; color: var(--soft); }
.frame { overflow: hidden; outline: 1px solid var(--line); }
.frame .one, .frame .other { position: absolute; border: 2px solid var(--run-0); }
.frame .other { border: 2px dashed var(--run-1); }
.frame span { filter: drop-shadow(0 0 1px #fff); }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; margin: .3rem 0; padding: 0;
       list-style: none; font-size: .85rem; }
.key i { display: inline-block; width: 1.6rem; height: .8rem; margin-right: .4rem;
         vertical-align: -.1rem; border: 2px solid var(--run-0); }
.key .other i { border: 2px dashed var(--run-1); }
@media (max-width: 600px) {
  .trio { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .trio .row figure { width: 50%; }
  .trio .row { grid-column: 1 / -1; }
  .trio .gap { display: none; }
}
"""

_LONGEST = 1024
"""Side of a picture, px: of a larger one every second, third, ... pixel is drawn."""

_UNKNOWN = 128
"""Grey of what is not known."""

_MARGIN = 6
"""Pixels around a corner that is enlarged."""


def has_flow(shown: Shown) -> bool:
    """Return whether the wheel is needed to read it."""
    return isinstance(shown, Flows)


def drawn(shown: Shown) -> list[str]:
    """Return what is shown as elements of a page: expected, found, and how they differ."""
    match shown:
        case Windows():
            return _windows(shown)
        case Frames():
            return _frames(shown)
        case Flows():
            return _flows(shown)
        case Masks():
            return _masks(shown)
        case Orders():
            return [order_table(shown)]
        case Values():
            return ['<div class="beside">', scatter(shown), value_table(shown), "</div>"]


def _masks(shown: Masks) -> list[str]:
    expected, found = (np.asarray(mask, bool) for mask in (shown.expected, shown.found))
    figures = [
        _figure(mask_image(mask), name, f"{shown.true}: white, {_share(mask)}")
        for name, mask in (("expected", expected), ("found", found))
    ]
    if expected.shape == found.shape:
        differ = expected != found
        image = error_image(differ.astype(np.float64), 1.0, np.ones_like(differ))
        figures.append(_figure(image, "difference", f"light: {_share(differ)}"))
    return _trio(figures, expected, found)


def _frames(shown: Frames) -> list[str]:
    one, other = shown.expected, shown.found
    images = _as_images(one, other)
    if shown.valid is not None and shown.valid.shape == other.shape[:2]:
        images[1][~shown.valid] = _UNKNOWN
    figures = [
        _figure(image, name, "x".join(map(str, image.shape[:2])) + " px")
        for name, image in zip(shown.names, images, strict=True)
    ]
    if one.shape == other.shape and one.size:
        apart = np.abs(_minus(one, other)).max(axis=-1)
        known = np.isfinite(apart) if shown.valid is None else shown.valid & np.isfinite(apart)
        figures.append(_difference(apart, known, ""))
    return _trio(figures, one, other)


def _flows(shown: Flows) -> list[str]:
    every = {name: flow for name, flow in zip(shown.names, (shown.expected, shown.found),
                                              strict=True) if flow is not None}  # fmt: skip
    against = {"label": shown.label} if shown.label is not None else {}
    scale = _longest([*against.values(), *every.values()], shown.valid)
    figures = []
    for name, flow in {**against, **every}.items():
        mask = shown.valid if name == "label" or flow is shown.expected else None
        figures.append(_figure(_flow(flow, scale, mask), name, f"full at {scale:.4g} px"))
    if against and len(every) > 1:  # each error stands below its flow, also where two are in a row
        figures = [f'<div class="row">{figures[0]}</div>', *figures[1:], '<div class="gap"></div>']
    errors = list(_errors(shown, every))
    ends = [float(apart[known].max(initial=0)) for _, apart, known in errors]
    largest = max(ends, default=0.0) if against else None
    figures += [_difference(apart, known, " px", name, largest) for name, apart, known in errors]
    return _trio(figures, *every.values())


def _errors(shown: Flows, every: dict[str, Array]) -> Iterator[tuple[str, Array, Array]]:
    """Yield the errors of flows against their label, or how far the two are apart."""
    if shown.label is not None:
        for name, flow in every.items():
            if flow.shape == shown.label.shape:
                yield f"error of {name}", *_apart(flow, shown.label, shown.valid)
        return
    one, other = shown.expected, shown.found
    if one is not None and other is not None and one.shape == other.shape:
        yield "difference", *_apart(other, one, None)


def _apart(flow: Array, other: Array, valid: Array | None) -> tuple[Array, Array]:
    error = _minus(flow, other)
    apart = np.hypot(error[..., 0], error[..., 1])
    known = np.isfinite(apart)
    if valid is not None and valid.shape == known.shape:
        known &= valid
    return apart, known


def _minus(one: Array, other: Array) -> Array:
    with np.errstate(invalid="ignore"):  # of two infinite values
        return np.asarray(one, np.float64) - np.asarray(other, np.float64)


def _difference(
    apart: Array, known: Array, unit: str, name: str = "difference", largest: float | None = None
) -> str:
    """Return a map of how far two are apart; grey where that is not known."""
    inside = apart[known]
    top = float(inside.max(initial=0)) if largest is None else largest
    parts = []
    if inside.size and unit:
        parts.append(f"EPE {inside.mean():.6g}{unit}")
    if largest is None:
        parts.append(f"{_share(inside > 0)} differ")
    told = "; ".join([*parts, f"dark 0, light {top:.4g}{unit}"])
    return _figure(error_image(np.where(known, apart, 0.0), top, known), name, told)


def _longest(flows: Sequence[Array], valid: Array | None) -> float:
    """Return the length of full colour, px: of the first flow that moves at all."""
    for flow in flows:
        length = np.hypot(flow[..., 0].astype(np.float64), flow[..., 1].astype(np.float64))
        known = np.isfinite(length)
        if valid is not None and valid.shape == known.shape:
            known &= valid
        longest = float(length[known].max(initial=0))
        if longest > 0:
            return longest
    return 1.0


def _flow(flow: Array, scale: float, valid: Array | None) -> NDArray[np.uint8]:
    known: NDArray[np.bool_] = np.isfinite(flow[..., 0]) & np.isfinite(flow[..., 1])
    if valid is not None and valid.shape == known.shape:
        known &= valid
    return flow_image(np.where(known[..., np.newaxis], flow, 0).astype(np.float64), scale, known)


def _as_images(one: Array, other: Array) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return frames as RGB; floats of both on one scale from their lowest to their highest."""
    if one.dtype == other.dtype == np.uint8:
        return _rgb(one)[..., ::-1].copy(), _rgb(other)[..., ::-1].copy()
    finite = np.concatenate([a[np.isfinite(a)].ravel() for a in (one, other)]).astype(np.float64)
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)

    def scaled(array: Array) -> NDArray[np.uint8]:
        within = np.clip(np.nan_to_num(array.astype(np.float64), nan=low), low, high)
        return _rgb((255 * (within - low) / ((high - low) or 1.0)).astype(np.uint8))

    return scaled(one), scaled(other)


def _rgb(array: Array) -> NDArray[np.uint8]:
    """Return three channels of whatever a frame has."""
    planes: NDArray[np.uint8] = array if array.ndim > 2 else array[..., np.newaxis]
    return planes if planes.shape[-1] == 3 else np.repeat(planes[..., :1], 3, axis=-1)


def _windows(shown: Windows) -> list[str]:
    height, width = shown.size
    if min(height, width) < 1:
        return [note(f"a frame of {height} x {width} px")]
    whole = _rgb(shown.whole)[..., ::-1] if shown.whole is not None else _checks(shown.size)
    windows = (shown.expected, shown.found)
    everything = (0, 0, height, width)
    figures = [
        _figure(whole, "whole frame", f"{height}x{width} px", _outlines(windows, everything)),
        *_corners(whole, windows),
    ]
    key = "".join(
        f'<li class="{style}"><i></i>{safe(name)}: {safe(_place(window))}</li>'
        for style, name, window in zip(("one", "other"), shown.names, windows, strict=True)
    )
    return [f'<ul class="key">{key}</ul>', *_trio(figures)]


def _place(window: Window | None) -> str:
    if window is None:
        return "not known"
    top, left, height, width = window
    return f"row {top}, column {left}, {height}x{width} px"


def _corners(whole: NDArray[np.uint8], windows: Sequence[Window | None]) -> Iterator[str]:
    """Yield the first corner in which two windows differ, enlarged, where it is a small part."""
    known = [window for window in windows if window is not None]
    for name, far in (("top left corner", 0), ("bottom right corner", 1)):
        places = [(w[0] + far * w[2], w[1] + far * w[3]) for w in known]
        if len(set(places)) < 2:
            continue
        ends = [
            (max(min(p[axis] for p in places) - _MARGIN, 0),
             min(max(p[axis] for p in places) + _MARGIN, whole.shape[axis]))
            for axis in (0, 1)
        ]  # fmt: skip
        (top, bottom), (left, right) = ends
        view = (top, left, bottom - top, right - left)
        if min(view[2:]) > 0 and all(2 * view[2 + a] <= whole.shape[a] for a in (0, 1)):
            part = whole[top:bottom, left:right]
            told = f"enlarged: rows {top} to {bottom - 1}, columns {left} to {right - 1}"
            yield _figure(part, name, told, _outlines(windows, view))
        return


def _outlines(windows: Sequence[Window | None], view: Window) -> str:
    return "".join(
        _outline(style, window, view)
        for style, window in zip(("one", "other"), windows, strict=True)
        if window is not None
    )


def _outline(style: str, window: Window, view: Window) -> str:
    """Return a window's outline in a view; an edge that lies outside of it is not drawn."""
    shares, edges = [], []
    for axis, (first, last) in enumerate((("top", "bottom"), ("left", "right"))):
        start, size = view[axis], view[2 + axis]
        begin, end = window[axis] - start, window[axis] + window[2 + axis] - start
        edges += [f"border-{first}: 0"] * (begin < 0) + [f"border-{last}: 0"] * (end > size)
        begin, end = (min(max(place, 0), size) for place in (begin, end))
        shares += [f"{first}: {begin / size:.4%}", f"{last}: {1 - end / size:.4%}"]
    return f'<span class="{style}" style="{"; ".join([*shares, *edges])}"></span>'


def _checks(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a frame of which every pixel can be counted."""
    rows, columns = np.indices(size)
    grey: NDArray[np.uint8] = np.where((rows + columns) % 2, 215, 240).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


def _figure(image: NDArray[np.uint8], name: str, told: str, over: str = "") -> str:
    caption = f"<figcaption>{safe(name)}<span>{safe(told)}</span></figcaption>"
    if not image.size:
        return f"<figure>{caption}</figure>"
    step = -(-max(image.shape[:2]) // _LONGEST)
    shown = picture(image[::step, ::step], f"{name}, {told}")
    return f'<figure><div class="frame">{shown}{over}</div>{caption}</figure>'


def _trio(figures: Sequence[str], *arrays: Array) -> list[str]:
    shapes = {array.shape for array in arrays}
    told = " and ".join(map(str, sorted(shapes)))
    return [
        f'<div class="trio">{"".join(figures)}</div>',
        *([note(f"The shapes {told} differ: pixels are not compared.")] if len(shapes) > 1 else []),
    ]


def _share(mask: Array) -> str:
    return f"{mask.mean():.1%} of pixels" if mask.size else "no pixel"
