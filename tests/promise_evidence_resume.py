"""Evidence about checkpoints: a run that is cut, and one that is disturbed and restored."""

from dataclasses import replace

from harness.promises import checkpoint, kills, resume
from harness.promises.checkpoint import CheckpointPair
from harness.promises.kills import KilledRuns
from harness.promises.resume import Resume
from tests.promise_evidence_training import CYCLES, STATE

STEPS = ((2, 1, CYCLES[2], "batch 2.1", 1e-3), (2, 2, CYCLES[3], "batch 2.2", 5e-4))
ROWS = ({"epoch": 2, "mean_epe_12": 3.5, "eval_seconds": 1.0, "checkpoint_digest": "c"},)
AGAIN_ROWS = ({**ROWS[0], "eval_seconds": 2.0, "checkpoint_digest": None},)
RESUMED = Resume("after epoch 1", STATE, dict(STATE), STEPS, STEPS, ROWS, AGAIN_ROWS)
CUT = {
    "a slot differs": (
        replace(RESUMED, resumed=STATE | {"adam/m/w": "9"}),
        "after epoch 1: adam/m/w: expected 2, found 9",
    ),
    "epoch 1's batches once more": (
        replace(RESUMED, resumed_steps=((2, 1, CYCLES[2], "batch 1.1", 1e-3), STEPS[1])),
        "after epoch 1: step record: expected .*batch 2.1.*, found .*batch 1.1",
    ),
    "a step lost": (
        replace(RESUMED, resumed_steps=STEPS[:1]),
        "after epoch 1: steps after the cut: expected 2, found 1",
    ),
    "another score in the log": (
        replace(RESUMED, resumed_rows=({**ROWS[0], "mean_epe_12": 3.6},)),
        "after epoch 1: epoch 2, column mean_epe_12: expected 3.5, found 3.6",
    ),
}
RESTORED = CheckpointPair(STATE, {"w": "7", "adam/m/w": "8"}, dict(STATE))
COMPLETE = {
    "a slot keeps its poison": (
        replace(RESTORED, restored=STATE | {"adam/m/w": "8"}),
        "after restoring: adam/m/w: expected 2, found 8",
    ),
    "an array gone": (
        replace(RESTORED, restored={"w": "1"}),
        "after restoring: adam/m/w: expected 2, found absent",
    ),
}

KILLED = KilledRuns(20, STATE, (dict(STATE), dict(STATE)), ())
KILLS = {
    "a slot differs": (
        replace(KILLED, ends=(STATE, STATE | {"adam/m/w": "9"})),
        "killed run 2: adam/m/w: expected 2, found 9",
    ),
    "half a checkpoint": (
        replace(KILLED, refused=("003: no checkpoint here",)),
        "checkpoint left by a kill: expected whole.*, found 003: no checkpoint here",
    ),
    "few kills": (replace(KILLED, kills=3), "kills: expected at least 20, found 3"),
}

CLEAN = {
    resume.every_resume_is_exact: [(RESUMED, RESUMED)],
    kills.kills_do_no_harm: [KILLED],
    resume.resume_is_exact: [RESUMED],
    checkpoint.checkpoint_restores_everything: [RESTORED],
}
EMPTY = {
    resume.every_resume_is_exact: (),
    kills.kills_do_no_harm: KilledRuns(20, {}, (), ()),
    resume.resume_is_exact: Resume("cut", {}, {}, (), (), (), ()),
    checkpoint.checkpoint_restores_everything: CheckpointPair({}, {}, {}),
}
CORRUPTED = {
    resume.every_resume_is_exact: {
        name: ((RESUMED, evidence), message) for name, (evidence, message) in CUT.items()
    },
    kills.kills_do_no_harm: KILLS,
    resume.resume_is_exact: CUT,
    checkpoint.checkpoint_restores_everything: COMPLETE,
}
