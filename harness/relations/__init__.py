"""What must hold: invariants as pure functions over evidence. No TensorFlow, no OpenCV."""

from harness.relations.base import Outcome, Relation, Violation
from harness.relations.registry import RELATIONS

__all__ = ["RELATIONS", "Outcome", "Relation", "Violation"]
