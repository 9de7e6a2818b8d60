"""Promises about training and checkpoints."""

from collections.abc import Callable
from typing import Any

from harness.relations import resume, training
from harness.relations.base import Outcome, Relation, Tier

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


def _resume(
    name: str, promise: str, needs: str, *sees: str,
    check: Callable[[Any], Outcome] = resume.resume_is_exact, tier: Tier = "quick",
) -> Relation:  # fmt: skip
    return Relation(
        f"resume-{name}", promise, needs, ("train", "save", "restore", "state"),
        "Something that determines the next step, or the next row of the log, is not in the "
        "checkpoint.",
        check, sees, tier,
    )  # fmt: skip


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
    _resume(
        "exact", "a run cut at an epoch boundary continues bit-identically", "resume",
        "checkpoint", "determinism", "fairness", "resume",
    ),
    _resume(
        "mid-epoch", "a run cut within an epoch continues bit-identically", "resume_mid_epoch",
        "resume",
    ),
    _resume(
        "before-evaluation",
        "a run cut after an epoch's last batch continues with the evaluation that is due",
        "resume_before_evaluation", "resume",
    ),
    _resume(
        "anywhere", "a run cut after any step of two epochs continues bit-identically",
        "resume_anywhere", "resume", check=resume.every_resume_is_exact, tier="full",
    ),
    _resume(
        "after-kill", "a run killed at random moments ends as if it had not been",
        "killed", "resume", check=resume.kills_do_no_harm, tier="full",
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
        "whole_run", ("train",),
        "Strict fairness is broken: some options are trained more than others.",
        training.archs_are_fair, sees=("fairness",),
    ),
    Relation(
        "all-finite", "no NaN or Inf in weights, gradients, statistics or scores",
        "finite", ("state", "train", "evaluate"),
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
