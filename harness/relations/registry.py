"""Every relation, by id."""

from collections.abc import Mapping
from types import MappingProxyType

from harness.relations import data, evaluation, metric, recalibration, resume, training
from harness.relations.base import Relation, Tier

__all__ = ["RELATIONS"]

_REPEAT = (
    "The number moves although the model does not. Look for random sampling or cropping in "
    "evaluation, a cursor that is not reset, or state carried from one arch to the next."
)
_RECAL = (
    "Recalibration must compute the population mean and variance (divided by N) of exactly "
    "the named batches. In TensorFlow 1 graphs, check that the update ops are fetched."
)
_EVAL = ("evaluate", "train", "save", "restore")


def _repeat(name: str, how: str, tier: Tier = "quick") -> Relation:
    return Relation(
        f"same-scores-{name}",
        f"the same checkpoint scores the same {how}",
        f"repeat_{name}",
        _EVAL,
        _REPEAT,
        evaluation.same_scores,
        tier,
    )


def _clip_checks(position: str, needs: str, *, suffix: str = "", tier: Tier = "quick") -> Relation:
    return Relation(
        f"clip-checks-planned-{position}{suffix}",
        f"clip_checks equals the plan, clipping per {position}",
        needs,
        ("train",),
        "Compare batch and micro-batch size with the run's first lines.",
        training.clip_checks_are_planned,
        tier,
    )


def _clip_arithmetic(position: str, needs: str) -> Relation:
    return Relation(
        f"clip-arithmetic-{position}",
        f"clip counts, rates, quantiles and norms agree, clipping per {position}",
        needs,
        ("train",),
        "The log's clip figures do not follow from the norms that were checked.",
        training.clip_arithmetic_holds,
    )


_ALL = (
    _repeat("again", "when evaluated again"),
    _repeat("fresh", "in a fresh process"),
    _repeat("permuted", "with the pool in another order"),
    _repeat("subset", "when only part of the pool is asked"),
    *(
        _repeat(name, f"when skeleton {name} is trained again", "full")
        for name in ("full", "bilinear", "decoupled")
    ),
    Relation(
        "same-scores-prefix", "the first batches score the same with a larger K",
        "repeat_prefix", _EVAL, _REPEAT, evaluation.same_scores,
    ),
    Relation(
        "eval-crop-centred", "evaluation serves the centre crop, the same in frames and flow",
        "served", ("batches",),
        "The pixels served are not the centre window of the files. Check H against W, BGR "
        "against RGB, u against v, and that the flow is cropped with the frames.",
        data.eval_crop_is_centred,
    ),
    Relation(
        "eval-order-fixed", "evaluation serves the split in a fixed order, each sample once",
        "served", ("batches",),
        "Evaluation must start from the first sample each time, never where it stopped before.",
        data.eval_order_is_fixed,
    ),
    Relation(
        "recal-batches-first",
        "recalibration uses the first batches of the training split, centre crop",
        "served_recal",
        ("batches", "train", "save", "restore"),
        "Recalibration must see training frames, all R batches of them, from the start.",
        data.recal_batches_are_the_first,
    ),
    Relation(
        "train-draws-declared", "training draws are as declared, new each epoch and per seed",
        "draws", ("batches",),
        "Epochs that repeat one order or one set of crops train on less data than they seem to.",
        data.training_draws_are_declared,
    ),
    Relation(
        "eval-pure", "an evaluation changes no variable, statistic, counter or draw",
        "purity", ("state", "evaluate", "batches"),
        "Evaluation shares something with training: a provider, a generator, or BN statistics.",
        evaluation.evaluation_changes_nothing,
    ),
    Relation(
        "train-unobserved", "evaluation and diagnostics do not change what is learnt",
        "with_and_without", ("train", "state", "save", "restore"),
        "Training with evaluation and logging ends elsewhere than without: they interfere.",
        training.same_training,
    ),
    _clip_checks("micro-step", "training_micro_step"),
    _clip_checks("update", "training_update"),
    _clip_checks(
        "micro-step", "training_micro_step_other_mode", suffix="-other-mode", tier="full"
    ),
    _clip_checks("update", "training_update_other_mode", suffix="-other-mode", tier="full"),
    _clip_arithmetic("micro-step", "training_micro_step"),
    _clip_arithmetic("update", "training_update"),
    Relation(
        "recal-batches-fixed", "recalibration uses the same batches everywhere",
        "recal_hashes", ("evaluate", "train", "batches"),
        "The batches behind the BN statistics move, and the EPE moves with them.",
        recalibration.recal_batches_are_fixed,
    ),
    Relation(
        "recal-statistics-exact", "recalibrated statistics are those of exactly those batches",
        "recal_pair", ("recalibrate", "state"), _RECAL,
        recalibration.recal_statistics_are_exact,
    ),
    Relation(
        "recal-effective", "recalibration takes effect and forgets the moving statistics",
        "recal_pair", ("recalibrate", "state"), _RECAL, recalibration.recal_ignores_the_past,
    ),
    Relation(
        "metric-oracle", "a perfect prediction scores 0, ground truth plus (3, 4) scores 5 px",
        "oracle", ("score", "batches"),
        "The metric does not score the accumulated full-scale flow.",
        metric.metric_gives_known_answers,
    ),
    Relation(
        "metric-recomputed", "the reported EPE is that of the predicted flow",
        "recomputation", ("predict", "evaluate", "batches"),
        "The outputs are residuals: scoring the last one alone leaves the EPE near that of an "
        "all-zero flow. Samples must weigh equally, whatever batch they are in.",
        metric.metric_is_recomputed,
    ),
    Relation(
        "metric-alive", "the EPE responds to every output head and differs between archs",
        "response", ("evaluate", "state", "describe"),
        "A metric that does not move when the model moves is dead: fix it before tuning anything.",
        metric.metric_is_alive,
    ),
    Relation(
        "resume-exact", "a run cut at an epoch boundary continues bit-identically",
        "resume", ("train", "save", "restore", "state"),
        "Something that determines the next step is not in the checkpoint.",
        resume.resume_is_exact,
    ),
    Relation(
        "checkpoint-complete", "a checkpoint restores every variable, slot and counter",
        "checkpoint_pair", ("state", "save", "restore"),
        "An array that keeps its poisoned value is missing from the checkpoint.",
        resume.checkpoint_restores_everything,
    ),
    Relation(
        "training-moves",
        "training changes every weight, statistic and optimizer slot",
        "moves",
        ("train", "state", "save"),
        "What does not move is not trained: an update that is not applied, or an option that "
        "is never chosen.",
        training.training_moves_everything,
    ),
    Relation(
        "epoch-rows-add-up",
        "the epoch log follows from the steps and from the evaluation repeated",
        "epoch_rows",
        ("train", "evaluate", "save", "restore"),
        "A column of the log is stale, fabricated, or of another evaluation.",
        training.epoch_rows_add_up,
    ),
    Relation(
        "fair-archs", "every step trains each option of each block once; fairness gap 0",
        "training_micro_step", ("train",),
        "Strict fairness is broken: some options are trained more than others.",
        training.archs_are_fair,
    ),
    Relation(
        "all-finite", "no NaN or Inf in weights, gradients, statistics or scores",
        "finite", ("state", "train", "recalibrate", "evaluate"),
        "Find the first step at which the value appeared in the ledger.",
        training.everything_is_finite,
    ),
    Relation(
        "nan-stops", "a NaN planted in a weight stops the run and is named",
        "planted_nan", ("state", "train", "save", "restore"),
        "A run that trains on after a NaN wastes every hour that follows.",
        training.planted_nan_stops,
    ),
)  # fmt: skip

RELATIONS: Mapping[str, Relation] = MappingProxyType({relation.id: relation for relation in _ALL})
