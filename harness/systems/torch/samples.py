"""The samples of a split, their files, and the layout of FlyingChairs that trainers read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FlowSample", "digest", "known_flow", "listed", "name_files", "read_flo", "write_chairs"]

_FLOW = "-flow_01.flo"
_UNKNOWN = 1e9
"""A component beyond this says that the flow is unknown, px; Middlebury's files hold 1e10 there."""


class FlowSample(NamedTuple):
    """One sample: its id, and the paths of both images (PNG) and of the flow (.flo)."""

    id: str
    image1: str
    image2: str
    flow: str


def listed(folder: str) -> list[FlowSample]:
    """Return the samples below a folder, sorted by id: path without the member's suffix."""
    found = (
        os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith(_FLOW)
    )
    return [
        FlowSample(name, *(os.path.join(folder, name + end) for end in _ENDS))
        for name in sorted(path[: -len(_FLOW)] for path in found)
    ]


_ENDS = ("-img_0.png", "-img_1.png", _FLOW)


def read_flo(path: str) -> Any:
    """Return the flow of a file, float32 (H, W, 2), px.

    Raises
    ------
    ValueError
        If it is no whole .flo file; the message has its path.
    """
    with open(path, "rb") as file:
        data = file.read()
    width, height = np.frombuffer(data[4:12].ljust(8, b"\0"), "<i4").tolist()
    if data[:4] != b"PIEH" or len(data) != 12 + 8 * width * height:
        raise ValueError(
            "%s: %d bytes are no .flo of %d x %d px" % (path, len(data), width, height)
        )
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)


def known_flow(flow: Any, valid: Any = None) -> tuple[Any, Any]:
    """Return flow (..., 2) with 0 where it is unknown, and where it is known, bool (...)."""
    with np.errstate(invalid="ignore"):
        known = (np.abs(flow) <= _UNKNOWN).all(axis=-1)
    if valid is not None:
        known = known & (np.asarray(valid) >= 0.5)
    return np.where(known[..., None], flow, np.float32(0)).astype(np.float32), known


def digest(*parts: Any) -> str:
    """Return a hex digest of arrays, bytes, and anything that repr tells apart."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            made.update(repr((part.shape, part.dtype.str)).encode())
            part = part.tobytes()
        made.update(part if isinstance(part, bytes) else repr(part).encode())
    return made.hexdigest()


def write_chairs(
    folder: str, train: Sequence[FlowSample], val: Sequence[FlowSample], split: str = ""
) -> dict[str, str]:
    """Lay samples out as FlyingChairs 1 has them: one folder, and a file of the split.

    Images are links to the PNG files: Pillow and OpenCV tell formats by content, so that the
    trainer's own reader meets each file as it is.

    Parameters
    ----------
    folder : str
        Made if it is absent; whatever else it holds is taken away.
    train, val : sequence of FlowSample
        ``00001_img1.ppm``, ``00001_img2.ppm`` and ``00001_flow.flo`` are the first of `train`.
    split : str, optional
        File with a line for each sample in order: 1 for training and 2 for validation.

    Returns
    -------
    links : dict of str to str
        Path of the file behind each name.
    """
    os.makedirs(folder, exist_ok=True)
    kinds = ["1"] * len(train) + ["2"] * len(val)
    links = {
        "%05d_%s" % (number, member): os.path.abspath(path)
        for number, sample in enumerate([*train, *val], 1)
        for member, path in zip(("img1.ppm", "img2.ppm", "flow.flo"), sample[1:])
    }
    for name in sorted(set(os.listdir(folder)) - set(links)):
        os.remove(os.path.join(folder, name))
    for name, path in links.items():
        link = os.path.join(folder, name)
        if not (os.path.islink(link) and os.readlink(link) == path):
            if os.path.lexists(link):
                os.remove(link)
            os.symlink(path, link)
    if split:
        with open(split, "w", encoding="ascii") as file:
            file.write("".join(kind + "\n" for kind in kinds))
    return links


def name_files(error: Exception, links: dict[str, str]) -> None:
    """Let an error that names a link say also which file that is."""
    text = str(error)
    told = ["%s is %s" % (name, path) for name, path in links.items() if name in text]
    if not told:
        return
    more = "; ".join(told)
    if isinstance(error, OSError) and error.errno is not None:
        error.strerror = "%s (%s)" % (error.strerror, more)
    else:
        error.args = ("%s (%s)" % (text, more),)
