"""Samples on a page: frames, flow in its usual colours with their wheel, errors."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from harness.fc2.crop import Window
from harness.reporting.flow_colours import error_image, flow_image, mask_image, png, wheel_image
from harness.reporting.markup import figure, note, safe, window_outline
from harness.wording import counted

__all__ = ["Predicted", "Sample", "picture", "picture_page", "sample_page", "wheel"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
.pictures { display: grid; gap: .8rem;
            grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr)); }
.pictures figcaption { font-weight: 400; font-size: .85rem; }
.frame { position: relative; }
.frame img { display: block; width: 100%; image-rendering: pixelated; }
.frame .window { position: absolute; border: 2px solid var(--run-1); }
.wheel img { width: 121px; border-radius: 50%; image-rendering: pixelated; }
"""


@dataclass(frozen=True)
class Predicted:
    """What an arch predicts of a sample.

    Attributes
    ----------
    arch : str
    flow : numpy.ndarray
        Shape (h, w, 2), float32, px, of the window.
    epe : float
        Of the sample, as an evaluation scores it, px.
    """

    arch: str
    flow: NDArray[np.float32]
    epe: float


@dataclass(frozen=True)
class Sample:
    """One sample to be looked at.

    Attributes
    ----------
    id : str
    frames, flow, valid : numpy.ndarray
        As of :class:`harness.fc2.decode.Decoded`, or cropped.
    window : Window or None
        What an evaluation takes of it; None where it is not known, or all that is here.
    predicted : tuple of Predicted
        Of what is here.
    """

    id: str
    frames: NDArray[np.uint8]
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]
    window: Window | None = None
    predicted: tuple[Predicted, ...] = ()

    @property
    def longest(self) -> float:
        """Length of the longest known flow, px."""
        return float(np.hypot(self.flow[..., 0], self.flow[..., 1]).max())

    @property
    def zero_flow(self) -> float | None:
        """Mean length of the known flow, px, which an all-zero flow scores; None: all unknown."""
        lengths = np.hypot(*np.moveaxis(self.flow[self.valid].astype(np.float64), -1, 0))
        return float(lengths.mean()) if lengths.size else None


def sample_page(samples: Sequence[Sample], *, title: str, command: str, version: str) -> str:
    """Return a page of its own that shows samples; nothing in it is fetched or run."""
    body = [
        f"<h1>{safe(title)}</h1>",
        f'<p class="small">Made by <code>{safe(command)}</code>, samebits {safe(version)}.</p>',
        *wheel(),
        *(part for sample in samples for part in _section(sample)),
    ]
    return picture_page(title, body)


def wheel() -> list[str]:
    """Return the key to the colours of flow."""
    return [
        f'<div class="wheel">{picture(wheel_image(), "colours of flow by its direction")}</div>',
        note("Flow: the hue is its direction, from the middle of the wheel outwards, the "
             "saturation its length; full at the length that is named, darker beyond "
             "(Baker et al., 2011). Grey is unknown."),
    ]  # fmt: skip


def picture_page(title: str, body: Sequence[str], *, style: str = "", head: str = "") -> str:
    """Return a page of its own in which nothing is fetched or run.

    Parameters
    ----------
    title : str
    body : sequence of str
        Elements.
    style, head : str
        What is added to the style sheet and to the head.
    """
    sheet = files("harness.reporting").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{head}<title>{safe(title)}</title>\n<style>\n{sheet}{_STYLE}{style}</style>\n</head>\n"
        "<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _section(sample: Sample) -> list[str]:
    height, width = sample.valid.shape
    unknown = int(sample.valid.size - np.count_nonzero(sample.valid))
    longest, zero = sample.longest, sample.zero_flow
    scale = longest or 1.0  # without any motion, any scale is white
    frames = (sample.frames[..., 2::-1], sample.frames[..., :2:-1])  # BGR, one after the other
    shown = [
        *(_figure(frame, f"frame {place}", sample) for place, frame in enumerate(frames)),
        _figure(flow_image(sample.flow, scale, sample.valid), f"flow, full at {scale:.4g} px",
                sample),
    ]  # fmt: skip
    if unknown:
        shown.append(_figure(mask_image(sample.valid), "known flow (white)", sample))
    for one in sample.predicted:
        shown += _predicted(sample, one, scale)
    told = "no flow is known" if zero is None else f"an all-zero flow scores {zero:.6g} px"
    return [
        f"<h2>{safe(sample.id)}</h2>",
        note(f"{height} x {width} px (H x W), longest flow {longest:.6g} px, {told}, "
             f"{counted(unknown, 'pixel')} unknown{_window_text(sample.window)}."),
        f'<div class="pictures">{"".join(shown)}</div>',
    ]  # fmt: skip


def _predicted(sample: Sample, one: Predicted, scale: float) -> list[str]:
    error = np.hypot(*np.moveaxis((one.flow - sample.flow).astype(np.float64), -1, 0))
    largest = float(error[sample.valid].max()) if sample.valid.any() else 0.0
    return [
        _figure(flow_image(one.flow, scale), f"predicted by {one.arch}, full at {scale:.4g} px",
                sample),
        _figure(error_image(error, largest, sample.valid),
                f"error of {one.arch}: EPE {one.epe:.6f} px; dark 0, light {largest:.4g} px",
                sample),
    ]  # fmt: skip


def _window_text(window: Window | None) -> str:
    if window is None:
        return ""
    return (
        f"; the evaluation takes {window.height} x {window.width} px from row {window.top}, column "
        f"{window.left}"
    )


def _figure(image: NDArray[np.uint8], caption: str, sample: Sample) -> str:
    return figure(picture(image, f"{caption} of {sample.id}"), caption, _outline(sample))


def _outline(sample: Sample) -> str:
    if sample.window is None:
        return ""
    height, width = sample.valid.shape
    window = sample.window
    return window_outline((window.top, window.left), (window.height, window.width), (height, width))


def picture(image: NDArray[np.uint8], text: str) -> str:
    """Return an RGB image, (H, W, 3), as an element of a page that says in words what it is."""
    data = base64.b64encode(png(np.ascontiguousarray(image))).decode("ascii")
    return f'<img alt="{safe(text)}" src="data:image/png;base64,{data}">'
