"""What a device did under TensorFlow's profiler: how much of the time it was busy, and its gaps."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

__all__ = ["Profile", "Span", "profiled", "summary"]

_SHOWN = 3

Span = tuple[float, float, str]
"""Start and end, s, and the name of a kernel or a copy."""


@dataclass(frozen=True)
class Profile:
    """What a device did.

    Attributes
    ----------
    seconds : float
        From the first start to the last end, s.
    busy : float
        Share of it in which something ran.
    kernels : int
        Kernels and copies.
    gaps : tuple of (float, str)
        The longest times in which nothing ran, s, and what ended them.
    """

    seconds: float
    busy: float
    kernels: int
    gaps: tuple[tuple[float, str], ...]


def profiled(run: Callable[[], object], *, skip: float = 0.0) -> Profile | None:
    """Profile a function on the first GPU; None where there is none.

    Parameters
    ----------
    skip : float, default 0
        Leading share of the time that is left out: the profiler itself starts in it.
    """
    import tensorflow as tf

    if not tf.config.get_visible_devices("GPU"):
        run()
        return None
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            run()
        spans = sorted(chain.from_iterable(map(_spans, Path(folder).rglob("*.xplane.pb"))))
    first, last = spans[0][0], max(end for _, end, _ in spans)
    start = first + skip * (last - first)
    return summary([span for span in spans if span[0] >= start])


def _spans(path: Path) -> Iterable[Span]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2  # type: ignore[import-untyped]

    space: Any = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    for plane in space.planes:
        for line in plane.lines:
            # Of a device, lines that are no stream say the same again, by operation.
            if plane.name.startswith("/device:GPU") and "Stream" in line.name:
                for event in line.events:
                    start = 1e-9 * line.timestamp_ns + 1e-12 * event.offset_ps
                    name = plane.event_metadata[event.metadata_id].name
                    yield start, start + 1e-12 * event.duration_ps, name


def summary(spans: Sequence[Span]) -> Profile:
    """Return what spans in the order of their starts come to; they may overlap."""
    first, end, busy = spans[0][0], spans[0][0], 0.0
    gaps: list[tuple[float, str]] = []
    for start, stop, name in spans:
        if start > end:
            gaps.append((start - end, name[:40]))
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    longest = tuple(sorted(gaps, reverse=True)[:_SHOWN])
    return Profile(end - first, busy / (end - first), len(spans), longest)
