"""What the metric gives residual outputs whose accumulated flow is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.bench import Bench
from harness.promises.independent_epe import independent_epe
from harness.promises.promise import needs, require_seen
from harness.systems.protocol import ServedBatch, System

__all__ = ["Oracle", "oracle"]


@dataclass(frozen=True)
class Oracle:
    """Known answers of the metric: case, exact EPE per sample, found, px.

    ``epsilon`` is what the metric says that it adds under its root, px^2; ``alone`` is each
    case's EPE of the last residual by itself, px.
    """

    cases: Sequence[tuple[str, Sequence[float], Sequence[float]]]
    epsilon: float = 0.0
    alone: Mapping[str, Sequence[float]] = field(default_factory=dict)


@needs("score", "batches")
def oracle(bench: Bench) -> Oracle:
    """Feed the metric residual outputs whose accumulated flow is known.

    They have the shapes of what the system predicts, where it can be asked.
    """
    predicts = bench.describe().can.issuperset(_PREDICTED)
    # Whatever it was trained to: a metric that is dead should be on the screen before training.
    with bench.in_any_state() as system:
        archs = system.evaluate(batches_per_arch=1).archs if predicts else ()
        return _scored_residuals(system, archs[:1])


_PREDICTED = ("predict", "evaluate")


def _scored_residuals(system: System, archs: Sequence[str]) -> Oracle:
    batches = system.batches("eval")
    require_seen(batches, "no evaluation batch was served (batches('eval'))")
    batch = batches[0]
    label, valid = batch.flow, batch.valid
    constant = np.broadcast_to(np.asarray([3.0, 4.0], np.float32), label.shape)
    ones, shapes = [1.0] * len(batch.ids), _shapes(system, archs, batch)
    cases, alone = [], {}
    for case, flow, expected in (
        ("a perfect prediction", label, 0.0),
        ("ground truth plus (3, 4)", label + constant, 5.0),
        ("ground truth minus (3, 4)", label - constant, 5.0),
    ):
        # Only constants lie in the coarse scales, which every way of resizing keeps: the answer is
        # known whichever way the system resizes.
        for split, outputs in _residuals(flow, constant, shapes).items():
            found = system.score(outputs, label, valid)
            name = f"{case}, {split}"
            cases.append((name, [e * expected for e in ones], list(map(float, found))))
            alone[name] = independent_epe(outputs[-1][..., :2], label, valid)
    far, exact = _far(label, valid)
    for split, outputs in _residuals(far + _far_error(label), constant, shapes).items():
        name = f"a flow of up to 1024 px plus (3, 4) and (300, 400), {split}"
        cases.append((name, exact, list(map(float, system.score(outputs, far, valid)))))
        alone[name] = independent_epe(outputs[-1][..., :2], far, valid)
    return Oracle(cases, system.describe().epe_epsilon, alone)


def _far(
    label: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], list[float]]:
    """Return a flow that is far in the right half, and the exact EPE of what is off by the below.

    Of whole px, which float32 holds: no answer is rounded.
    """
    far = np.zeros_like(label)
    far[..., label.shape[2] // 2 :, :] = (1024.0, -768.0)
    length = np.linalg.norm(_far_error(label).astype(np.float64), axis=-1)
    exact = [float(d[v].mean()) if v.any() else 0.0 for d, v in zip(length, valid, strict=True)]
    return far, exact


def _far_error(label: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an error of 5 px in the left half of a flow and of 500 px in the right one."""
    error = np.broadcast_to(np.asarray([3.0, 4.0], np.float32), label.shape).copy()
    error[..., label.shape[2] // 2 :, :] *= 100
    return error


def _shapes(system: System, archs: Sequence[str], batch: ServedBatch) -> list[tuple[int, ...]]:
    """Return (h, w, channels) of each output of the system, coarse to fine."""
    for arch in archs:
        return [output.shape[1:] for output in system.predict(arch, batch)]
    height, width = batch.flow.shape[1:3]
    return [(height // scale, width // scale, 4) for scale in (4, 2, 1)]


def _residuals(
    flow: NDArray[np.float32], constant: NDArray[np.float32], shapes: Sequence[tuple[int, ...]]
) -> dict[str, list[NDArray[np.float32]]]:
    """Return ways to write a flow as residual outputs of given shapes."""

    def output(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
        height, width, _ = shape
        rows, columns = flow.shape[1] // height, flow.shape[2] // width
        full = np.zeros((len(flow), *shape), np.float32)
        full[..., :2] = values[:, ::rows, ::columns][:, :height, :width]
        full[..., 2:] = 0.5  # log-variance, which a metric must not look at
        return full

    shares = [(0.25, -1.0)[index % 2] for index in range(len(shapes) - 1)]
    found = {}
    for name, parts in (("all in the last scale", [0.0] * len(shares)), (_SPREAD, shares)):
        coarse = [output(s * constant, shape) for s, shape in zip(parts, shapes, strict=False)]
        found[name] = [*coarse, output(flow - sum(parts) * constant, shapes[-1])]
    return found if shares else {"in the one output": found[_SPREAD]}


_SPREAD = "spread over three scales"
