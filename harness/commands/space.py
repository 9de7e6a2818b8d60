"""What an evaluation says of the search space, told and kept."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.commands.common import say
from harness.config import Config
from harness.evaluation.scored_space import ScoredSpace, scored_space
from harness.records.records import EvalRecord
from harness.reporting.space import space_lines

if TYPE_CHECKING:  # imports TensorFlow, which the environment must precede
    from harness.evaluation.evaluator import Protocol

__all__ = ["told_space"]


def told_space(
    config: Config, protocol: "Protocol", record: EvalRecord,
    per_sample: Mapping[str, list[float]],
) -> ScoredSpace:  # fmt: skip
    """Say the fronts, what each block contributes and how stable the ranking is; return it all."""
    height, width = protocol.eval_batches[0].frames.shape[1:3]
    space = scored_space(
        record.archs, record.per_arch_epe, skeleton=config.model.skeleton,
        width=config.model.width, size=(int(height), int(width)), per_sample=per_sample,
        batch_sizes=[batch.size for batch in protocol.eval_batches],
    )  # fmt: skip
    for line in space_lines(space):
        say(line)
    return space
