"""Evidence about the evaluator outside of training: three archs, a checkpoint of two files."""

import math
from dataclasses import replace

from harness.promises import offline
from harness.promises.offline import AloneOffline, BothEvaluators, OfflineCalls
from harness.promises.same_scores import Repeat
from tests.promise_evidence_scores import ARCHS, BASE, nudged, only

FILES = {"last.index": "1a", "last.data": "2b"}
STATE = {"trunk/kernel": "3c", "trunk/moving_mean": "4d"}
CALLS = OfflineCalls(BASE, BASE, FILES, dict(FILES), STATE, dict(STATE))
TOUCHED = {
    "a file is another": (
        replace(CALLS, files_after=FILES | {"last.index": "9f"}),
        "after an offline evaluation, file last.index: expected 1a, found 9f",
    ),
    "a file is gone": (
        replace(CALLS, files_after={"last.index": "1a"}),
        "after an offline evaluation, file last.data: expected 2b, found absent",
    ),
    "a statistic of the open system moves": (
        replace(CALLS, state_after=STATE | {"trunk/moving_mean": "7e"}),
        "state after an offline evaluation, trunk/moving_mean: expected 4d, found 7e",
    ),
}
ALONE = only(BASE, ARCHS[-1:])
BOTH = BothEvaluators(Repeat(ALONE, ALONE, "offline, alone"), Repeat(BASE, BASE, "offline"))


def fewer(evaluation):
    return replace(evaluation, per_sample={a: s[:2] for a, s in evaluation.per_sample.items()})


ON_FEW = replace(BOTH, few=Repeat(fewer(ALONE), fewer(ALONE), "offline, on one batch"))
OTHERWISE = {
    "an arch alone": (
        replace(BOTH, alone=Repeat(ALONE, nudged(ALONE, ARCHS[-1]), "offline, alone")),
        r"offline, alone, arch 012012012, sample 3: expected \d\.\d+ px, found \d\.\d+ px",
    ),
    "an arch in company": (
        replace(BOTH, pool=Repeat(BASE, nudged(BASE, ARCHS[1]), "offline")),
        r"offline, arch 111111111, sample 3: expected 1\.\d+ px, found 1\.\d+ px",
    ),
    "the reported score": (
        replace(
            BOTH,
            pool=Repeat(
                BASE,
                replace(
                    BASE, per_arch_epe=(math.nextafter(BASE.per_arch_epe[0], 99),
                                        *BASE.per_arch_epe[1:]),
                ),
                "offline",
            ),
        ),
        "offline, reported EPE of arch 000000000: expected ",
    ),
    "all batches in place of one": (
        replace(BOTH, few=Repeat(fewer(ALONE), ALONE, "offline, on one batch")),
        "offline, on one batch, arch 012012012: expected 2 samples, found 5 samples",
    ),
    "other batches": (
        replace(BOTH, pool=Repeat(BASE, replace(BASE, eval_batch_hash="e2"), "offline")),
        "offline, eval_batch_hash: expected e1, found e2: other evaluation batches were scored",
    ),
}  # fmt: skip

BY_ITSELF = AloneOffline(Repeat(BASE, ALONE, "offline, one arch alone"))
IN_ITS_PLACE = replace(BY_ITSELF, replaced=Repeat(ALONE, ALONE, "offline, in another's place"))
ITS_PLACE = {
    "another score alone": (
        replace(BY_ITSELF, alone=Repeat(BASE, nudged(ALONE, ARCHS[-1]), "offline, alone")),
        r"offline, alone, arch 012012012, sample 3: expected \d\.\d+ px, found \d\.\d+ px",
    ),
    "the score of what was there before": (
        replace(IN_ITS_PLACE, replaced=Repeat(ALONE, nudged(ALONE, ARCHS[-1]), "in its place")),
        r"in its place, arch 012012012, sample 3: expected \d\.\d+ px, found \d\.\d+ px",
    ),
}
WITH_A_RESULT = replace(CALLS, files_after=FILES | {"result.json": "5e"})
NOBODY = only(BASE, ())
CLEAN = {
    offline.offline_changes_nothing: [CALLS, WITH_A_RESULT],
    offline.scores_alone: [BY_ITSELF, IN_ITS_PLACE],
    offline.scores_as_in_training: [BOTH, ON_FEW],
}
EMPTY = {
    offline.offline_changes_nothing: OfflineCalls(NOBODY, NOBODY, {}, {}, {}, {}),
    offline.scores_alone: AloneOffline(Repeat(NOBODY, NOBODY, "offline, alone")),
    offline.scores_as_in_training: BothEvaluators(
        Repeat(NOBODY, NOBODY, "offline, alone"), Repeat(NOBODY, NOBODY, "offline")
    ),
}
CORRUPTED = {
    offline.offline_changes_nothing: TOUCHED,
    offline.scores_alone: ITS_PLACE,
    offline.scores_as_in_training: OTHERWISE,
}
