"""What an all-zero flow scores on the samples that another trainer scores."""

import math
from pathlib import Path

import numpy as np

from harness.errors import InputError
from harness.foreign.judging import ZeroFlow
from harness.foreign.run import ForeignRun, Plan
from harness.wording import counted

__all__ = ["measured_zero_flow"]


def measured_zero_flow(root: Path, run: ForeignRun, plan: Plan) -> ZeroFlow:
    """Measure the EPE of an all-zero flow on the labels of ``val/``.

    Labels are clipped as the trainer clips them, and cut to the centre of the configured size.
    Where the plan says how many batches an arch is scored on, the first samples are taken, from
    the front again where the split has fewer, else all of them. Unknown flow is left out.

    Parameters
    ----------
    root : pathlib.Path
        Folder with ``val/``.

    Raises
    ------
    InputError
        If there are no samples, or the crop does not fit one; names it.
    """
    # OpenCV, which decodes other files there, takes longer to import than an audit takes.
    from harness.fc2.decode import read_flow
    from harness.fc2.layout import list_triplets

    samples = list_triplets(root / "val")
    batches, batch = (plan.count(key) for key in ("eval.eval_batches_per_arch", "train.batch_size"))
    served = len(samples) if batches is None or batch is None else batches * batch
    height, width = (plan.count(f"data.input_{side}") for side in ("height", "width"))
    crop = None if height is None or width is None else (height, width)
    clip = plan.number("eval.flow_clip") or run.label_clip
    scores = [
        _zero_epe(sample.flow, read_flow(sample.flow), crop, clip)
        for sample in samples[: min(served, len(samples))]
    ]
    whole, rest = divmod(served, len(scores))
    weights = [whole + (place < rest) for place in range(len(scores))]
    epe = math.fsum(w * s for w, s in zip(weights, scores, strict=True)) / served
    if not epe > 0:
        msg = f"--fc2-root {root}: the labels of val/ are all zero, nothing compares with them"
        raise InputError(msg)
    how = [counted(len(scores), "sample") + f" of {root.name}/val"]
    how.append("whole frames" if crop is None else f"centre {crop[0]} x {crop[1]}")
    if clip is not None:
        how.append(f"labels clipped at {clip:g} px")
    return ZeroFlow(epe, f"measured on {', '.join(how)}")


def _zero_epe(
    path: Path, flow: np.ndarray, crop: tuple[int, int] | None, clip: float | None
) -> float:
    from harness.fc2.crop import center_window
    from harness.fc2.decode import UNKNOWN_FLOW

    if crop is not None:
        try:
            window = center_window(flow.shape[:2], crop)
        except ValueError as error:
            msg = f"{path}: {error}"
            raise InputError(msg) from None
        flow = flow[window.top : window.top + crop[0], window.left : window.left + crop[1]]
    known = np.abs(flow).max(axis=-1) <= UNKNOWN_FLOW
    if not known.any():
        return 0.0
    values = flow[known].astype(np.float64)
    clipped = values if clip is None else np.clip(values, -clip, clip)
    return float(np.sqrt((clipped**2).sum(axis=-1)).mean())
