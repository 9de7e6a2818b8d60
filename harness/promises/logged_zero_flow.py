"""The zero-flow EPE that training's evaluation records leaves unknown flow out, as the score does.

It is what a score is read against, and a log that repeats it agrees with itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.promises.bench import Bench
from harness.promises.candidates import instead
from harness.promises.independent_epe import independent_epe
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome, require_seen
from harness.promises.samples import data_section, known_in_files, odd_files
from harness.promises.score_candidates import mean_over
from harness.records.records import EvalRecord
from harness.wording import counted

__all__ = ["ZERO_FLOW_LOGGED", "LoggedZeroFlow", "logged_zero_flow", "zero_flow_is_of_known_pixels"]

_TOLERANCE = 1e-5
"""Relative: means may be taken in float32."""


@dataclass(frozen=True)
class LoggedZeroFlow:
    """What an evaluation of training recorded, and the all-zero flow on the files that it scored.

    Attributes
    ----------
    logged : float
        As recorded, px.
    epe, everywhere : sequence of float
        Of each sample over its known pixels, and over all of them, unknown flow as 0, px.
    pixels : sequence of int
        Known ones of each sample.
    mean : str
        What the system averages over.
    """

    logged: float = math.nan
    epe: Sequence[float] = ()
    everywhere: Sequence[float] = ()
    pixels: Sequence[int] = field(default=())
    mean: str = "samples"


@needs("train", "batches", says=("Training.records",))
def logged_zero_flow(bench: Bench) -> LoggedZeroFlow:
    """Train an epoch and evaluate it, on samples of which some have unknown flow."""
    folder = bench.evidence(odd_files)
    train = bench.settable("train", {"steps_per_epoch": 1})
    few = {"eval_batches_per_arch": 1, "bn_recal_batches": 1}
    with bench.open_cheaply(few, data=data_section(folder), train=train) as system:
        run, batches = system.train(1), system.batches("eval")
        about = system.describe()
    made = [record for record in run.records if isinstance(record, EvalRecord)]
    require_seen(made, "no evaluation was recorded (Training.records)")
    require_seen(batches, "no evaluation batch was served (batches('eval'))")
    epe, everywhere, pixels = list[float](), list[float](), list[int]()
    for batch in batches:
        known, zero = known_in_files(folder / "val", batch), np.zeros_like(batch.flow)
        flow = np.where(known[..., None], batch.flow, 0)
        epe += independent_epe(zero, flow, known, epsilon=about.epe_epsilon)
        everywhere += independent_epe(
            zero, flow, np.ones_like(known), epsilon=about.epe_epsilon
        )  # fmt: skip
        pixels += [int(mask.sum()) for mask in known]
    return LoggedZeroFlow(made[-1].zero_flow_epe, epe, everywhere, pixels, about.mean)


def zero_flow_is_of_known_pixels(evidence: LoggedZeroFlow) -> Outcome:
    """Require the recorded zero-flow EPE to be that of the known pixels that were scored."""
    epe, found = evidence.epe, evidence.logged
    figures = f"{found:.6g} px over {counted(sum(evidence.pixels), 'known pixel')}"
    if not epe:
        return outcome([], 0, figures)
    want = mean_over(epe, evidence.pixels, evidence.mean)
    every = mean_over(evidence.everywhere, [1] * len(epe), "samples")
    unseen = "" if every != want else "no pixel without a label was scored: nothing to leave out"
    if math.isclose(found, want, rel_tol=_TOLERANCE):
        return outcome([], len(epe), figures, unseen=unseen)
    others = {"unknown flow counted as 0": every}
    what = f"{found:.6g} px{instead(found, others, rel_tol=_TOLERANCE)}"
    wrong = Violation("EPE of the all-zero flow in the record of an evaluation", f"{want:.6g} px",
                      what, "zero flow")  # fmt: skip
    return outcome([wrong], len(epe), figures)


ZERO_FLOW_LOGGED = Promise(
    id="zero-flow-logged",
    sentence="the zero-flow EPE of the log leaves out unknown flow, as the score does",
    evidence=logged_zero_flow,
    check=zero_flow_is_of_known_pixels,
    hint=(
        "What a dead metric is told by averages over other pixels than the score: a net that has "
        "learnt nothing looks as if it had."
    ),
    explained_by=("metric-recomputed", "unknown-flow-unscored", "unknown-flow-masked"),
)
