"""Evidence about training: two epochs of batches 5 and 4 in micro-batches of 2."""

import math
from dataclasses import replace

import numpy as np

from harness.promises import clip_checks, epoch_log, training
from harness.promises.epoch_log import EpochRows
from harness.promises.logged_settings import LoggedSettings
from harness.promises.modes import Mode
from harness.promises.training import FiniteEvidence, Moves, PlantedNan, TwoWays
from harness.records.records import NOT_LOGGED, EpochRecord, StepRecord
from harness.systems.protocol import Check, Training
from tests.promise_evidence_scores import BASE

RNG = np.random.default_rng(8)
CYCLES = [
    ("012012012", "120120120", "201201201"),
    ("000000000", "111111111", "222222222"),
    ("021021021", "102102102", "210210210"),
    ("222222222", "000000000", "111111111"),
]
THRESHOLD = 50.0


def log_row(epoch, norms, expected):
    clipped = sum(norm > THRESHOLD for norm in norms)
    p50, p90, p99 = (float(np.quantile(norms, q)) for q in (0.5, 0.9, 0.99))
    values = dict.fromkeys(EpochRecord.__dataclass_fields__, 1.0) | {
        "epoch": epoch, "fairness_gap": 0, "clip_checks": len(norms), "reasons": {},
        "expected_clip_checks": expected, "clip_count": clipped,
        "clip_rate": clipped / len(norms), "grad_norm_p50": p50, "grad_norm_p90": p90,
        "grad_norm_p99": p99, "train_grad_norm_epoch_avg": math.fsum(norms) / len(norms),
    }  # fmt: skip
    return EpochRecord(**values)


def trained(position, per_step):
    steps, checks, rows = [], [], []
    for epoch in (1, 2):
        norms = []
        for step, count in enumerate(per_step, start=1):
            drawn = (RNG.random(count) * 2 * THRESHOLD).tolist()
            norms += drawn
            checks += [Check(epoch, step, norm, min(norm, THRESHOLD)) for norm in drawn]
            cycle = CYCLES[2 * epoch + step - 3]
            batch = f"batch {epoch}.{step}"
            steps.append(StepRecord(epoch, step, cycle, batch, 1e-3, 2.0, count, 1, max(drawn)))
        rows.append(log_row(epoch, norms, sum(per_step)))
    return Training(
        (5, 4), 5, 2, position, THRESHOLD, tuple(steps), tuple(rows), tuple(checks), (2.0,)
    )


MICRO, UPDATE = trained("micro_step", (9, 6)), trained("update", (1, 1))
NO_TRAINING = replace(MICRO, planned_sizes=(), steps=(), epochs=(), checks=(), losses=())


def logged(evidence, **changes):
    return replace(evidence, epochs=(evidence.epochs[0], replace(evidence.epochs[1], **changes)))


def checked(evidence, **changes):
    return replace(evidence, checks=(replace(evidence.checks[0], **changes), *evidence.checks[1:]))


def of_no_gradient(evidence):
    """Return a training whose norms are those of gradients that are not there yet."""
    checks = tuple(replace(check, before=0.0, after=0.0) for check in evidence.checks)
    return replace(evidence, checks=checks, epochs=())


def cycled(evidence, *cycle):
    return replace(evidence, steps=(*evidence.steps[:3], replace(evidence.steps[3], archs=cycle)))


def unlogged(evidence, *columns):
    """Return training of a system whose log lacks some columns."""
    changes = {**dict.fromkeys(columns), "reasons": dict.fromkeys(columns, NOT_LOGGED)}
    return replace(evidence, epochs=tuple(replace(row, **changes) for row in evidence.epochs))


UNLOGGED = unlogged(MICRO, "clip_checks", "expected_clip_checks", "grad_norm_p50")
PLANNED = {
    "a gap without a reason": (
        logged(MICRO, clip_checks=None),
        "epoch 2, clip_checks: expected 15, found none",
    ),
    "checks lost, of which the log does not tell": (
        replace(UNLOGGED, checks=UNLOGGED.checks[:-1]),
        "epoch 2, checks observed: expected 15, found 14",
    ),
    "a partial batch forgotten": (
        logged(MICRO, expected_clip_checks=12),
        r"epoch 2, expected_clip_checks: expected 15, found 12, which implies "
        r"ceil\(batch / micro-batch\) = 2\.00 for batch 5, micro-batch 2",
    ),
    "a check too many in the log": (
        logged(MICRO, clip_checks=16),
        "epoch 2, clip_checks: expected 15, found 16",
    ),
    "a check that was not made, without rows": (
        replace(MICRO, epochs=(), checks=MICRO.checks[1:]),
        "epoch 1, checks observed: expected 15, found 14",
    ),
    "a check that was not made": (
        replace(MICRO, checks=MICRO.checks[1:]),
        "epoch 1, checks observed: expected 15, found 14",
    ),
    "clipping per micro-step where the update is planned": (
        replace(MICRO, position="update"),
        "epoch 1, clip_checks: expected 2, found 15",
    ),
    "clipping per update where micro-steps are planned": (
        replace(UPDATE, position="micro_step"),
        "epoch 1, checks observed: expected 15, found 2",
    ),
    "a step missing": (
        replace(MICRO, steps=MICRO.steps[:3]),
        "epoch 2, steps: expected 2, found 1",
    ),
}
ARITHMETIC = {
    "scaled although below": (
        checked(MICRO, before=10.0, after=9.9),
        r"epoch 1, step 1, norm after clipping: expected min\(10, 50\), found 9\.9",
    ),
    "not scaled although above": (
        checked(UPDATE, before=60.0, after=60.0),
        r"norm after clipping: expected min\(60, 50\), found 60",
    ),
    "of no gradient": (
        of_no_gradient(MICRO),
        r"norms before clipping: expected above 0 where the loss is 2, found 0 in all \d+ checks",
    ),
    "NaN after clipping": (
        checked(MICRO, after=math.nan),
        "norm after clipping: expected min.*, found nan",
    ),
    **{
        f"{name} of other norms": (
            logged(evidence, **{name: getattr(evidence.epochs[1], name) + 1}),
            f"epoch 2, {name}: expected ",
        )
        for evidence, name in [
            (MICRO, "clip_count"), (MICRO, "clip_rate"), (MICRO, "grad_norm_p50"),
            (UPDATE, "grad_norm_p90"), (MICRO, "grad_norm_p99"),
            (MICRO, "train_grad_norm_epoch_avg"),
        ]
    },
}  # fmt: skip
# Of two blocks there are 36 fair cycles: one of 36 honest runs repeats one of one-step epochs.
SHORT = ("01", "12", "20")
FEW_CYCLES = replace(MICRO, steps=tuple(replace(s, archs=SHORT) for s in (
    MICRO.steps[0], MICRO.steps[2],
)))  # fmt: skip
FAIR = {
    "an option twice": (
        cycled(MICRO, "000000000", "111111111", "122222222"),
        r"epoch 2, step 2, block 0: expected options 0, 1, 2 once each, found \('0', '1', '1'\)",
    ),
    "two archs instead of three": (
        cycled(MICRO, "000000000", "111111111"),
        "epoch 2, step 2, block 5: expected options 0, 1, 2 once each",
    ),
    "a gap reported": (
        logged(MICRO, fairness_gap=1),
        "epoch 2, fairness_gap: expected 0, found 1 reported, 0 counted",
    ),
    "a gap not reported": (
        cycled(MICRO, "222222222", "000000000", "011111111"),
        "epoch 1, fairness_gap: expected 0, found 0 reported, [1-9] counted",
    ),
    "one cycle for ever": (
        replace(MICRO, steps=tuple(replace(s, archs=CYCLES[0]) for s in MICRO.steps)),
        "fair cycles: expected different from step to step, found all the same",
    ),
}
STATE = {"w": "1", "adam/m/w": "2"}
WAYS = TwoWays("with evaluation", "without", (STATE, dict(STATE)), (MICRO, MICRO))
SERVED = {"batch 0": "1d", "batch 1": "2e"}
DRAWN = TwoWays(
    "asked for", "trained on", (SERVED, dict(SERVED)), (MICRO, replace(MICRO, steps=()))
)
TWO_WAYS = {
    "a weight differs": (
        replace(WAYS, states=(STATE, STATE | {"w": "3"})),
        "with evaluation against without: w: expected 1, found 3",
    ),
    "a batch that was not asked for": (
        replace(DRAWN, states=(SERVED, SERVED | {"batch 1": "3f"})),
        "asked for against trained on: batch 1: expected 2e, found 3f",
    ),
    "two batches the other way round": (
        replace(DRAWN, states=(SERVED, {"batch 0": "2e", "batch 1": "1d"})),
        "asked for against trained on: batch 0: expected 1d, found 2e",
    ),
    "a batch too few": (
        replace(DRAWN, states=(SERVED, {"batch 0": "1d"})),
        "asked for against trained on: batch 1: expected 2e, found absent",
    ),
    "other draws": (
        replace(WAYS, trainings=(MICRO, replace(MICRO, steps=MICRO.steps[1:]))),
        "training batches: expected the same draws, found others",
    ),
}
NUMBERS = FiniteEvidence(
    {"weights": {"w": np.ones((2, 3)), "count": np.arange(3)}, "scores": {"epe": np.zeros(4)}}
)


def spoilt(value):
    array = np.ones((2, 3))
    array[1, 2] = value
    return FiniteEvidence({**NUMBERS.groups, "gradients": {"g": array}})


FINITE = {
    str(value): (
        spoilt(value),
        rf"gradients g, at \(1, 2\): expected a finite number, found {value}",
    )
    for value in (math.nan, math.inf, -math.inf)
}
STOPPED = PlantedNan("Down1/kernel", "NonFiniteError", "epoch 1, step 1: Down1/kernel[0] = nan")
SPREAD = replace(STOPPED, message="NaN in norm/gamma", spread=("Down1/kernel", "norm/gamma"))
NAN = {
    "another named": (
        replace(STOPPED, message="NaN in norm/beta", spread=SPREAD.spread),
        "the error's message: expected the name Down1/kernel, found NaN in norm/beta",
    ),
    "training went on": (
        replace(STOPPED, error=None, message=""),
        "training with NaN in Down1/kernel: expected a stop, found it went on",
    ),
    "not named": (
        replace(STOPPED, message="loss is nan"),
        "the error's message: expected the name Down1/kernel, found loss is nan",
    ),
}

NORMED = Moves(
    {"w": "1", "n/moving_mean": "2"}, {"w": "4", "n/moving_mean": "5"},
    {"w": "3", "n/moving_mean": "4"}, frozenset({"n/moving_mean"}),
    tuple(Mode(epoch, 1, {"net": True, "net.norm": True}) for epoch in (1, 2)),
)  # fmt: skip
MOVED = Moves({"w": "1", "adam/m/w": "2", "progress/step": "3"}, {"w": "4", "adam/m/w": "5"})
RATES = (0.5, (1 + math.cos(0.75 * math.pi)) / 2)
"""Of steps 3 and 4 of 4, from 1.0 on."""
LOGGED = replace(
    MICRO.epochs[-1], mean_epe_12=2.0, std_epe_12=1.0, per_arch_epe_min=1.0,
    per_arch_epe_median=2.0, per_arch_epe_max=3.0, zero_flow_epe=4.0, lr=RATES[1],
    train_loss_epoch_avg=3.5, global_step=2,
)  # fmt: skip
# Batches of 5 and 4 in micro-batches of 2: their losses weigh 3 and 2.
STEPPED = tuple(
    replace(MICRO.steps[0], epoch=LOGGED.epoch, step=i + 1, lr=RATES[i], loss=loss)
    for i, loss in enumerate((3.0, 4.25))
)
SCORED = replace(BASE, per_arch_epe=(1.0, 3.0), zero_flow_epe=4.0)
ROWS = EpochRows(replace(MICRO, steps=STEPPED, epochs=(LOGGED,)), SCORED, 1.0, 4)
BOTH = replace(
    ROWS, earlier=SCORED,
    training=replace(ROWS.training, epochs=(replace(LOGGED, epoch=1), LOGGED)),
)  # fmt: skip
NOT_DUE = replace(
    ROWS, eval_every=3, training=replace(ROWS.training, epochs=(replace(
        LOGGED, mean_epe_12=None, std_epe_12=None, per_arch_epe_min=None, per_arch_epe_median=None,
        per_arch_epe_max=None, zero_flow_epe=None,
    ),)),
)  # fmt: skip


def retold(**changes):
    return replace(ROWS, training=replace(ROWS.training, epochs=(replace(LOGGED, **changes),)))


def unsteady(rows):
    """Let the evaluation score otherwise when it is repeated."""
    other = {arch: tuple(epe + 1 for epe in found) for arch, found in SCORED.per_sample.items()}
    return replace(rows, again=replace(SCORED, per_sample=other))


OF_TWO = replace(
    NORMED, modes=(), before={**NORMED.before, "m/moving_mean": "1"},
    between={**NORMED.between, "m/moving_mean": "2"},
    after={**NORMED.after, "m/moving_mean": "2"},
    statistics=frozenset({"n/moving_mean", "m/moving_mean"}),
)  # fmt: skip
STILL = {
    "one unit's statistics after an evaluation": (
        OF_TWO,
        "moving statistics in epoch 2: expected .*, found the same, 1, such as m/moving_mean, of",
    ),
    "a weight": (replace(MOVED, after={"w": "1", "adam/m/w": "5"}), "w after training: expected"),
    "statistics after an evaluation": (
        replace(NORMED, after={**NORMED.between, "w": "4"}, modes=()),
        "moving statistics in epoch 2: expected others than after epoch 1 and its evaluation",
    ),
    "the mode after an evaluation": (
        replace(NORMED, modes=(*NORMED.modes, Mode(2, 2, {"net": False, "net.norm": False}))),
        "net in step 2 of epoch 2: expected training mode, as before, found evaluation mode",
    ),
}
FABRICATED = {
    "the first epoch's scores": (
        replace(BOTH, earlier=replace(SCORED, per_arch_epe=(1.0, 4.0))),
        "epoch 1, mean_epe_12: expected 2.5, found 2.0",
    ),
    "the mean": (retold(mean_epe_12=1.9), "mean_epe_12: expected 2.0, found 1.9"),
    "the loss": (retold(train_loss_epoch_avg=3.4), "train_loss_epoch_avg: expected 3.5"),
    "the learning rate": (replace(ROWS, base_lr=2.0), "learning rate of epoch 2, step 1"),
    "the loss, beside scores that nobody can repeat": (
        unsteady(retold(train_loss_epoch_avg=3.4, mean_epe_12=1.9)),
        "train_loss_epoch_avg: expected 3.5",
    ),
}

USED = replace(LOGGED, bn_recal_batches=2, eval_batches_per_arch=3, eval_pool_size=5)
SETTINGS = LoggedSettings((USED, replace(USED, epoch=3)), 2, 3, False, 5)
MISLOGGED = {
    "recalibration that was not made": (
        replace(SETTINGS, recal_batches=0),
        "epoch 2, bn_recal_batches: expected 0: the evaluation recalibrated nothing, found 2",
    ),
    "recalibration on fewer": (
        replace(SETTINGS, recal_batches=1),
        "epoch 3, bn_recal_batches: expected 1: the evaluation recalibrated on 1, found 2",
    ),
    "scores of fewer batches": (
        replace(SETTINGS, eval_batches=1),
        "epoch 2, eval_batches_per_arch: expected 1: each arch was scored on 1 batches, found 3",
    ),
    "more scored than logged, of the whole split": (
        replace(SETTINGS, eval_batches=4, whole_split=True),
        "epoch 2, eval_batches_per_arch: expected 4: .*, found 3",
    ),
    "another pool": (
        replace(SETTINGS, pool=4),
        "epoch 2, eval_pool_size: expected 4: 4 archs were scored, found 5",
    ),
}
UNTOLD = replace(
    SETTINGS, rows=tuple(replace(row, eval_pool_size=None) for row in SETTINGS.rows),
    recal_batches=None, eval_batches=None,
)  # fmt: skip

CLEAN = {
    epoch_log.logged_settings_are_used: [
        SETTINGS,
        replace(SETTINGS, recal_batches=None),
        replace(SETTINGS, eval_batches=2, whole_split=True),
    ],
    training.training_moves_everything: [MOVED, NORMED, replace(NORMED, modes=())],
    epoch_log.epoch_rows_add_up: [
        ROWS,
        BOTH,
        NOT_DUE,
        replace(ROWS, again=SCORED),
        unsteady(retold(mean_epe_12=1.9)),
    ],
    training.same_training: [WAYS, DRAWN],
    clip_checks.clip_checks_are_planned: [
        MICRO,
        UPDATE,
        UNLOGGED,
        replace(MICRO, epochs=()),
        replace(MICRO, epochs=(), steps=()),
    ],
    clip_checks.clip_arithmetic_holds: [MICRO, UPDATE, UNLOGGED, replace(MICRO, epochs=())],
    epoch_log.archs_are_fair: [MICRO, unlogged(MICRO, "fairness_gap"), FEW_CYCLES],
    training.everything_is_finite: [NUMBERS],
    training.planted_nan_stops: [STOPPED, SPREAD],
}
EMPTY = {
    epoch_log.logged_settings_are_used: replace(SETTINGS, rows=()),
    training.training_moves_everything: Moves({}, {}),
    epoch_log.epoch_rows_add_up: replace(ROWS, training=NO_TRAINING),
    training.same_training: TwoWays("one", "other", ({}, {}), (NO_TRAINING, NO_TRAINING)),
    clip_checks.clip_checks_are_planned: NO_TRAINING,
    clip_checks.clip_arithmetic_holds: NO_TRAINING,
    epoch_log.archs_are_fair: NO_TRAINING,
    training.everything_is_finite: FiniteEvidence({"weights": {}}),
    training.planted_nan_stops: PlantedNan("w", None, ""),
}
NOTHING_TO_TELL = {
    epoch_log.logged_settings_are_used: {
        "nothing told": (
            UNTOLD, "not applicable: expected evidence, found no setting is both logged and seen",
        ),
    },
}  # fmt: skip
CORRUPTED = {
    epoch_log.logged_settings_are_used: MISLOGGED,
    training.training_moves_everything: STILL,
    epoch_log.epoch_rows_add_up: FABRICATED,
    training.same_training: TWO_WAYS,
    clip_checks.clip_checks_are_planned: PLANNED,
    clip_checks.clip_arithmetic_holds: ARITHMETIC,
    epoch_log.archs_are_fair: FAIR,
    training.everything_is_finite: FINITE,
    training.planted_nan_stops: NAN,
}
