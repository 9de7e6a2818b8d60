"""The colours of a sample's pictures, on scales that stay as they are over epochs."""

import numpy as np
from numpy.typing import NDArray

from harness.records.pictures import PictureSample
from harness.reporting.flow_colours import error_image, flow_image

__all__ = ["error_scale", "error_shown", "flow_scale", "predicted_shown", "true_shown"]

_Flow = NDArray[np.float32]
_Image = NDArray[np.uint8]
_SHARE = 0.95


def flow_scale(sample: PictureSample) -> float:
    """Return the length of full saturation, px, which 95 in 100 true flows do not exceed.

    And no less than twice their mean; one thin thing that is fast would leave all else white.
    """
    lengths = np.hypot(sample.flow[..., 0], sample.flow[..., 1])[sample.valid]
    most = float(np.quantile(lengths, _SHARE)) if lengths.size else 0.0
    # Without any motion, any scale is white.
    return min(max(most, 2 * sample.zero_flow), sample.longest) or 1.0


def error_scale(sample: PictureSample) -> float:
    """Return the error that is lightest, px: twice the EPE of an all-zero flow.

    An arch that predicts no motion is of middling lightness on average, whatever the sample.
    """
    return 2 * sample.zero_flow or 1.0


def true_shown(sample: PictureSample) -> _Image:
    """Return the label in colours, (h, w, 3), RGB, unknown flow grey."""
    return flow_image(sample.flow, flow_scale(sample), sample.valid)


def predicted_shown(sample: PictureSample, flow: _Flow) -> _Image:
    """Return a prediction in the label's colours."""
    return flow_image(flow, flow_scale(sample))


def error_shown(sample: PictureSample, flow: _Flow) -> _Image:
    """Return the length of the difference to the label in the colours of cividis."""
    difference = (flow - sample.flow).astype(np.float64)
    error = np.hypot(difference[..., 0], difference[..., 1])
    return error_image(error, error_scale(sample), sample.valid)
