"""Two faults at once, as an untested trainer has them."""

PAIRS = (
    ("last-residual-scored", "draws-restart"),
    ("recal-never-updates", "slots-forgotten"),
    ("eval-cursor-kept", "last-residual-scored"),
    ("u-for-v", "schedule-too-long"),
    ("recal-carries-over", "nan-ignored"),
    ("centre-off-by-one", "mean-of-means"),
    ("eval-updates-statistics", "corrupt-sample-replaced"),
    ("noise-in-metric", "clip-reported-only"),
    ("archs-drawn-unfairly", "row-stale"),
    ("layer-frozen", "manifest-against-itself"),
)
"""Ids of faults."""


class Pair:
    """A system with two faults.

    Parameters
    ----------
    first, second : str
        As in :data:`PAIRS`.
    """

    def __init__(self, first, second):
        # Imports TensorFlow, hence once the environment is applied.
        from harness.faults.catalog import FAULTS

        self.faults = [FAULTS[name]() for name in (first, second)]

    def apply(self, parts):
        for fault in self.faults:
            parts = fault.apply(parts) if hasattr(fault, "apply") else parts
        return parts

    def wrap(self, system):
        for fault in self.faults:
            system = fault.wrap(system) if hasattr(fault, "wrap") else system
        return system
