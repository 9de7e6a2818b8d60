"""What an evaluation says that it took, against a clock around it."""

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

from harness.promises.bench import Bench
from harness.promises.drawn_cases import parts
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome

__all__ = ["EVAL_SECONDS", "Clocked", "clocked_evaluation", "seconds_add_up"]

_TIMES = 8
"""How often the batches are scored: recalibration is far the shorter part then, so that the one
told for the other does not fit in between."""


@dataclass(frozen=True)
class Clocked:
    """What an evaluation says that its parts took, and what passed around it, all in s."""

    recalibration: float
    scoring: float
    passed: float


@needs("evaluate", "state", says=("parts",))
def clocked_evaluation(bench: Bench) -> Clocked:
    """Evaluate one arch on few recalibration batches and many scored ones, with a clock beside."""
    parts(bench)  # for what it raises: nobody else's evaluation tells its times
    with bench.in_any_state() as system:
        builtin = _builtin(system)
        session, epoch = builtin.session, builtin.trainer.progress.epoch
        protocol = session.fixed.protocol(epoch)
        longer = dataclasses.replace(
            protocol, pool=protocol.pool[:1], recal_batches=protocol.recal_batches[:1],
            eval_batches=tuple(protocol.eval_batches) * _TIMES,
        )  # fmt: skip
        weights = session.model.weight_tensors()
        # Once before: what is traced on first use belongs to whichever part comes first.
        session.evaluator.evaluate(weights, longer)
        start = time.perf_counter()
        record, _ = session.evaluator.evaluate(weights, longer)
        passed = time.perf_counter() - start
    return Clocked(record.bn_recal_seconds, record.eval_seconds, passed)


def _builtin(system: Any) -> Any:
    """Return a system of parts as what it is: it has a session and a trainer besides."""
    return system


def seconds_add_up(evidence: Clocked) -> Outcome:
    """Require both parts to have taken time, and together no more than passed."""
    told = {"bn_recal_seconds": evidence.recalibration, "eval_seconds": evidence.scoring}
    violations = [
        Violation(f"an evaluation, {name}", "more than 0 s", f"{seconds:.6g} s")
        for name, seconds in told.items()
        if not (math.isfinite(seconds) and seconds > 0)
    ]
    total = sum(told.values())
    # Not `>`: a NaN must count as wrong.
    if not total <= evidence.passed:
        where = "an evaluation, bn_recal_seconds + eval_seconds"
        expected = f"at most the {evidence.passed:.6g} s that passed"
        violations.append(Violation(where, expected, f"{total:.6g} s"))
    figures = (
        f"recalibration {evidence.recalibration:.3g} s and scoring {evidence.scoring:.3g} s of "
        f"{evidence.passed:.3g} s"
    )
    return outcome(violations, evidence.passed > 0, figures, without="no time passed")


EVAL_SECONDS = Promise(
    id="eval-seconds-add-up",
    sentence="recalibration and scoring take the seconds that are logged, no more than passed",
    evidence=clocked_evaluation,
    check=seconds_add_up,
    hint=(
        "A clock was started elsewhere or read twice: what an evaluation costs is budgeted from "
        "these seconds, and each epoch pays it."
    ),
)
