"""Every relation, by id."""

from collections.abc import Mapping
from types import MappingProxyType

from harness.relations.base import Relation
from harness.relations.declared_altering import ALTERING
from harness.relations.declared_measuring import MEASURING
from harness.relations.declared_offline import OFFLINE
from harness.relations.declared_training import TRAINING

__all__ = ["RELATIONS"]

_ALL = (*MEASURING, *TRAINING, *ALTERING, *OFFLINE)

RELATIONS: Mapping[str, Relation] = MappingProxyType({relation.id: relation for relation in _ALL})
