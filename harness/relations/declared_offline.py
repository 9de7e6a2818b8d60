"""Promises that a ledger alone can prove or break: for the gate and for ``harness audit``."""

from harness.relations.base import Relation

__all__ = ["OFFLINE"]

OFFLINE: tuple[Relation, ...] = ()
