"""The trainers of later generations, ``supernet_trainer_v2`` and ``_v3``, of eleven blocks."""

from __future__ import annotations

from .adapter import EdgeFlowNAS

__all__ = ["EdgeFlowNASV2", "EdgeFlowNASV3"]


class EdgeFlowNASV2(EdgeFlowNAS):
    """A checkout of which ``engine.supernet_trainer_v2`` trains."""

    generation = "_v2"


class EdgeFlowNASV3(EdgeFlowNAS):
    """A checkout of which ``engine.supernet_trainer_v3`` trains, with batches drawn ahead."""

    generation = "_v3"
