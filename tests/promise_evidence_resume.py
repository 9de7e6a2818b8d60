"""Evidence about checkpoints: a run that is cut, and one that is disturbed and restored."""

from dataclasses import replace

from harness.promises import checkpoint, kills, plans, resume
from harness.promises.checkpoint import CheckpointPair
from harness.promises.kills import KilledRuns
from harness.promises.plans import ChangedKey, ChangedPlan
from harness.promises.resume import Resume
from harness.promises.saved_again import SavedAgain
from tests.promise_evidence_training import CYCLES, STATE


def step(epoch, number, cycle, batch, lr):
    return {"epoch": epoch, "step": number, "archs": cycle, "batch": batch, "lr": lr}


FIRST = (step(1, 1, CYCLES[0], "batch 1.1", 1e-3), step(1, 2, CYCLES[1], "batch 1.2", 1e-3))
STEPS = (step(2, 1, CYCLES[2], "batch 2.1", 1e-3), step(2, 2, CYCLES[3], "batch 2.2", 5e-4))
ROWS = ({"epoch": 2, "mean_epe_12": 3.5, "eval_seconds": 1.0, "checkpoint_digest": "c"},)
AGAIN_ROWS = ({**ROWS[0], "eval_seconds": 2.0, "checkpoint_digest": None},)
COUNTED = STATE | {"progress/counts": "3", "progress/generator": "4", "progress/step": "5"}
START = dict.fromkeys(COUNTED, "0")
KINDS = {"w": "weights", "adam/m/w": "optimizer slots"}
RESUMED = Resume(
    "cut after epoch 1", COUNTED, dict(COUNTED), STATE, dict(STATE), STEPS, STEPS, ROWS,
    AGAIN_ROWS, FIRST, KINDS, {"as at the start of training": START},
)  # fmt: skip
CUT = {
    "a slot differs": (
        replace(RESUMED, resumed=STATE | {"adam/m/w": "9"}),
        "cut after epoch 1, at the end, optimizer slots: expected 1 as without the cut, found "
        r"none: 1 of another value \(adam/m/w\)",
    ),
    "a slot is not restored": (
        replace(RESUMED, restored=COUNTED | {"adam/m/w": "0"}),
        "cut after epoch 1, restored optimizer slots: expected 1 as saved, found none: 1 as at "
        r"the start of training \(adam/m/w\)",
    ),
    "neither counts nor generator nor step are restored": (
        replace(RESUMED, restored=START | STATE),
        "cut after epoch 1, restored counters and generators: expected 3 as saved, found "
        r"none: 3 as at the start of training \(progress/counts, progress/\w+, progress/\w+\)$",
    ),
    "epoch 1's archs and batches once more": (
        replace(RESUMED, resumed_steps=(FIRST[0] | {"epoch": 2}, FIRST[1] | {"epoch": 2})),
        "step 1 of epoch 2: expected as without the cut, found the archs and batches of epoch 1 "
        "again",
    ),
    "another batch at another rate": (
        replace(RESUMED, resumed_steps=(STEPS[0] | {"batch": "x", "lr": 2e-3}, STEPS[1])),
        "step 1 of epoch 2: expected as without the cut, found other batches, lr 0.002 for 0.001",
    ),
    "a step lost": (
        replace(RESUMED, resumed_steps=STEPS[:1]),
        "cut after epoch 1: steps after the cut: expected 2, found 1",
    ),
    "another score in the log": (
        replace(RESUMED, resumed_rows=({**ROWS[0], "mean_epe_12": 3.6},)),
        "cut after epoch 1: epoch 2, column mean_epe_12: expected 3.5, found 3.6",
    ),
    "another batch in the log": (
        replace(
            RESUMED, straight_rows=(ROWS[0] | {"bn": "a" * 32},),
            resumed_rows=(ROWS[0] | {"bn": "b" * 32},),
        ),
        "epoch 2, column bn: expected the same value, found another",
    ),
}  # fmt: skip
RESTORED = CheckpointPair(
    COUNTED, COUNTED | {"w": "7", "adam/m/w": "8"}, dict(COUNTED), START, KINDS
)
COMPLETE = {
    "a slot keeps its poison": (
        replace(RESTORED, restored=COUNTED | {"adam/m/w": "8"}),
        "restored optimizer slots: expected 1 as saved, found none: 1 still poisoned",
    ),
    "a generator starts anew": (
        replace(RESTORED, restored=COUNTED | {"progress/generator": "0"}),
        "restored counters and generators: expected 3 as saved, found 2: 1 as at the "
        r"start of training \(progress/generator\)",
    ),
    "a finished run that trains on": (
        replace(RESTORED, again=SavedAgain(steps=3)),
        "a run that is restored after its 2 epochs and told to train as many: expected no step, "
        "found 3 steps",
    ),
    "a save that leaves what is there": (
        replace(RESTORED, again=SavedAgain(0, COUNTED, START, COUNTED | {"progress/clock": "9"})),
        "a checkpoint that was saved where another one was, restored: expected what was saved "
        "last, found what was saved there before",
    ),
    "a save that fails in silence": (
        replace(RESTORED, again=SavedAgain(unsaved="it went on, and nothing is there")),
        "a save below a file, where no folder can be: expected an error, found it went on, and "
        "nothing is there",
    ),
    "an array gone": (
        replace(RESTORED, restored={k: v for k, v in COUNTED.items() if k != "adam/m/w"}),
        "restored optimizer slots: expected 1 as saved, found none: 1 absent",
    ),
}

KILLED = KilledRuns(20, STATE, (dict(STATE), dict(STATE)), ())
KILLS = {
    "a slot differs": (
        replace(KILLED, ends=(STATE, STATE | {"adam/m/w": "9"})),
        "killed run 2, at the end, optimizer slots: expected 1 as without a kill, found none: 1 of "
        r"another value \(adam/m/w\)",
    ),
    "half a checkpoint": (
        replace(KILLED, refused=("003: no checkpoint here",)),
        "checkpoint left by a kill: expected whole.*, found 003: no checkpoint here",
    ),
    "few kills": (replace(KILLED, kills=3), "kills: expected at least 20, found 3"),
}

REFUSED = ChangedKey("train.lr", "0.001", "0.0015", True, "ValueError: train.lr: 0.001 -> 0.0015")
NOTED = ChangedKey("train.num_epochs", "2", "3", True, "num_epochs is 3 from here on")
PLANS = {
    "a rate in silence": (
        ChangedPlan((replace(REFUSED, told=False, found="it went on and said nothing"), NOTED)),
        "restored under train.lr 0.0015, saved under 0.001: expected an error, or a note that "
        "restore returns, that names train.lr, found it went on and said nothing",
    ),
    "an error that names no key": (
        ChangedPlan((replace(NOTED, told=False, found="ValueError: shapes differ"),)),
        "names train.num_epochs, found ValueError: shapes differ",
    ),
}

CLEAN = {
    plans.changed_plan_is_told: [ChangedPlan((REFUSED, NOTED))],
    resume.every_resume_is_exact: [(RESUMED, RESUMED)],
    kills.kills_do_no_harm: [KILLED],
    resume.resume_is_exact: [RESUMED],
    checkpoint.checkpoint_restores_everything: [
        RESTORED,
        replace(RESTORED, again=SavedAgain(0, COUNTED, START, START)),
        replace(RESTORED, again=SavedAgain(0, COUNTED, COUNTED, COUNTED)),
    ],
}
EMPTY = {
    plans.changed_plan_is_told: ChangedPlan(()),
    resume.every_resume_is_exact: (),
    kills.kills_do_no_harm: KilledRuns(20, {}, (), ()),
    resume.resume_is_exact: Resume("cut", {}, {}, {}, {}, (), (), (), ()),
    checkpoint.checkpoint_restores_everything: CheckpointPair({}, {}, {}),
}
CORRUPTED = {
    plans.changed_plan_is_told: PLANS,
    resume.every_resume_is_exact: {
        name: ((RESUMED, evidence), message) for name, (evidence, message) in CUT.items()
    },
    kills.kills_do_no_harm: KILLS,
    resume.resume_is_exact: CUT,
    checkpoint.checkpoint_restores_everything: COMPLETE,
}
