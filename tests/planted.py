"""Two faults at once, as an untested trainer has them."""

from harness.systems.opening import load_object

PAIRS = (
    ("metric:LastResidualOnly", "resuming:DrawsRestart"),
    ("recalibration:RecalNeverUpdates", "resuming:SlotsForgotten"),
    ("data:EvalResumesCursor", "metric:LastResidualOnly"),
    ("geometry:UForV", "gradients:ScheduleNeverEnds"),
    ("recalibration:RecalCarriesOver", "surroundings:NanIgnored"),
    ("geometry:CentreRoundsUp", "gradients:MeanOfMeans"),
    ("recalibration:EvalUpdatesStatistics", "data:CorruptSampleReplaced"),
    ("surroundings:NoiseInMetric", "gradients:ClipReportedOnly"),
    ("searching:DrawsUnfair", "metric:RowOfEarlierEvaluation"),
    ("gradients:LastLayerFrozen", "resuming:CheckpointNotVerified"),
)
"""Modules of ``harness.faults`` and their classes."""


class Pair:
    """A system with two faults.

    Parameters
    ----------
    first, second : str
        As in :data:`PAIRS`.
    """

    def __init__(self, first, second):
        self.faults = [load_object(f"harness.faults.{name}", "fault")() for name in (first, second)]

    def apply(self, parts):
        for fault in self.faults:
            parts = fault.apply(parts) if hasattr(fault, "apply") else parts
        return parts

    def wrap(self, system):
        for fault in self.faults:
            system = fault.wrap(system) if hasattr(fault, "wrap") else system
        return system
