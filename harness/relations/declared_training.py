"""Promises about training and checkpoints."""

from harness.relations import resume, training
from harness.relations.base import Relation, Tier

__all__ = ["TRAINING"]


def _clip_checks(position: str, needs: str, *, suffix: str = "", tier: Tier = "quick") -> Relation:
    return Relation(
        f"clip-checks-planned-{position}{suffix}",
        f"clip_checks equals the plan, clipping per {position}",
        needs,
        ("train",),
        "Compare batch and micro-batch size with the run's first lines.",
        training.clip_checks_are_planned,
        ("clip",),
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
        ("clip", "log"),
    )


TRAINING: tuple[Relation, ...] = (
    Relation(
        "train-unobserved", "evaluation and diagnostics do not change what is learnt",
        "with_and_without", ("train", "state", "save", "restore"),
        "Training with evaluation and logging ends elsewhere than without: they interfere.",
        training.same_training, sees=("step", "evaluation", "determinism", "log"),
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
        "resume-exact", "a run cut at an epoch boundary continues bit-identically",
        "resume", ("train", "save", "restore", "state"),
        "Something that determines the next step is not in the checkpoint.",
        resume.resume_is_exact, sees=("checkpoint", "determinism", "fairness"),
    ),
    Relation(
        "checkpoint-complete", "a checkpoint restores every variable, slot and counter",
        "checkpoint_pair", ("state", "save", "restore"),
        "An array that keeps its poisoned value is missing from the checkpoint.",
        resume.checkpoint_restores_everything, sees=("checkpoint",),
    ),
    Relation(
        "training-moves",
        "training changes every weight, statistic and optimizer slot",
        "moves",
        ("train", "state", "save"),
        "What does not move is not trained: an update that is not applied, or an option that "
        "is never chosen.",
        training.training_moves_everything, sees=("step", "arch"),
    ),
    Relation(
        "epoch-rows-add-up",
        "the epoch log follows from the steps and from the evaluation repeated",
        "epoch_rows",
        ("train", "evaluate", "save", "restore"),
        "A column of the log is stale, fabricated, or of another evaluation.",
        training.epoch_rows_add_up, sees=("log", "evaluation", "schedule"),
    ),
    Relation(
        "fair-archs", "every step trains each option of each block once; fairness gap 0",
        "training_micro_step", ("train",),
        "Strict fairness is broken: some options are trained more than others.",
        training.archs_are_fair, sees=("fairness",),
    ),
    Relation(
        "all-finite", "no NaN or Inf in weights, gradients, statistics or scores",
        "finite", ("state", "train", "recalibrate", "evaluate"),
        "Find the first step at which the value appeared in the ledger.",
        training.everything_is_finite, sees=("step", "evaluation", "finite"),
    ),
    Relation(
        "nan-stops", "a NaN planted in a weight stops the run and is named",
        "planted_nan", ("state", "train", "save", "restore"),
        "A run that trains on after a NaN wastes every hour that follows.",
        training.planted_nan_stops, sees=("finite",),
    ),
)  # fmt: skip
