"""All checks of another trainer's run, in the order in which they are shown."""

from harness.foreign.clipping import CLIP_NOT_SATURATED, MICRO_BATCHES_AS_CONFIGURED
from harness.foreign.files import (
    CHECKPOINT_METRIC_LOGGED,
    LOG_COMPLETE,
    OPTIONS_FAIR,
    PLAN_AS_CONFIGURED,
)
from harness.foreign.judging import Check
from harness.foreign.progress import COLUMNS_MOVE, RATE_AS_USED, ROWS_DIFFER, VALUES_FINITE
from harness.foreign.scores import EPE_BELOW_ZERO_FLOW, POOL_SPREAD, RANKING_BEYOND_CHANCE

__all__ = ["CHECKS"]

CHECKS: tuple[Check, ...] = (
    EPE_BELOW_ZERO_FLOW,
    POOL_SPREAD,
    RANKING_BEYOND_CHANCE,
    CLIP_NOT_SATURATED,
    MICRO_BATCHES_AS_CONFIGURED,
    PLAN_AS_CONFIGURED,
    RATE_AS_USED,
    OPTIONS_FAIR,
    ROWS_DIFFER,
    COLUMNS_MOVE,
    VALUES_FINITE,
    LOG_COMPLETE,
    CHECKPOINT_METRIC_LOGGED,
)
"""What makes a measurement void first."""
