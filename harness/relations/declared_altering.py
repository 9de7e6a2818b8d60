"""Promises about single steps and about what happens when something is altered."""

from harness.relations import altered, caching, data, ledger_metric, metric, steps, training
from harness.relations.base import Relation

__all__ = ["ALTERING"]

_ONE_STEP = ("train", "state", "save", "restore", "predict", "batches", "describe")
_ACCUMULATION = ("train", "state", "batches", "describe")

ALTERING: tuple[Relation, ...] = (
    Relation(
        "loss-recomputed", "the training loss is that of the outputs, the labels and the decay",
        "one_step", _ONE_STEP,
        "Training sees other inputs or labels than evaluation, or its loss lacks a scale, the "
        "uncertainty, the mask or the weight decay.",
        steps.loss_is_recomputed, sees=("step", "data", "mask", "one-step"),
    ),
    Relation(
        "update-is-adam", "an update is one Adam step with the planned rate and reported norm",
        "one_step", _ONE_STEP,
        "What moved the weights is not what was logged: another learning rate, other moments, or "
        "a gradient changed after it was measured.",
        steps.update_is_adam, sees=("step", "schedule", "clip", "one-step"),
    ),
    Relation(
        "gradient-of-loss", "the gradient is the slope of the reported loss",
        "one_step", _ONE_STEP,
        "The loss that is logged is not the one that is minimised, or part of it is detached.",
        steps.gradient_is_the_losses, sees=("step", "one-step"),
    ),
    Relation(
        "gradient-everywhere", "one fair step sends a gradient to every option",
        "one_step", _ONE_STEP,
        "The three archs of a step do not run the options that their codes name.",
        steps.gradient_reaches_every_option, sees=("step", "arch", "fairness", "one-step"),
    ),
    Relation(
        "micro-batches-weighed", "uneven micro-batches weigh by their samples",
        "accumulation", _ACCUMULATION,
        "Means of unequal micro-batches are averaged, summed, divided by a constant, or one of "
        "them is lost or counted twice.",
        steps.micro_batches_weigh_by_samples, sees=("step", "one-step"),
    ),
    Relation(
        "clip-applied", "the clipped gradient is what is applied",
        "accumulation", _ACCUMULATION,
        "The clip is reported but not applied, applied to each variable alone, or at another "
        "place than configured.",
        steps.clip_is_applied, sees=("clip", "step", "one-step"),
    ),
    Relation(
        "moving-statistics", "moving statistics follow each arch's batch with momentum 0.9",
        "one_step", _ONE_STEP,
        "An update is missing, made twice, of other batches, or has the momentum's complement.",
        steps.moving_statistics_follow, sees=("moving", "step", "one-step"),
    ),
    Relation(
        "drawn-as-served", "training uses the batches that its provider serves, in order",
        "drawn", ("train", "batches"),
        "Workers, prefetching or a resumed loader hand out other batches than declared.",
        training.same_training, sees=("data", "determinism", "order"),
    ),
    Relation(
        "tau-of-changed-ranking", "tau follows from both rankings where they differ",
        "shaken", ("train", "evaluate"),
        "The ranking is compared with itself, or another correlation is logged as tau.",
        ledger_metric.tau_of_changed_ranking, sees=("rank",),
    ),
    Relation(
        "constant-ranking", "tau is undefined where all archs score the same",
        "constant_ranking", ("train", "state", "describe"),
        "A constant ranking has no order to agree with; 1.0 would read as perfect agreement.",
        metric.constant_ranking_has_no_tau, sees=("rank",),
    ),
    Relation(
        "same-run-elsewhere", "a run does not depend on paths, file order or its name",
        "elsewhere", ("train", "evaluate", "state"),
        "Something sorts by path or listing order, or reads the run's name.",
        altered.place_does_not_matter, sees=("data", "config", "determinism"),
    ),
    Relation(
        "seeds-matter", "a seed repeats its start, and another seed changes it",
        "seeds", ("train", "state"),
        "The seed does not reach the initial weights or the fair cycles.",
        altered.seeds_matter, sees=("determinism", "fairness", "config"),
    ),
    Relation(
        "pool-as-declared", "the pool is the declared archs, then distinct ones from the seed",
        "pools", ("evaluate",),
        "Scores of different archs are compared as if they were those of one pool.",
        altered.pool_is_declared, sees=("arch",),
    ),
    Relation(
        "unknown-flow-masked", "unknown flow is masked and other flow is served as it is",
        "odd_served", ("batches",),
        "Middlebury's unknown flow (over 1e9) must be masked; large flow must not.",
        data.unknown_flow_is_masked, sees=("mask", "data", "served"),
    ),
    Relation(
        "unknown-flow-unscored", "unknown flow does not enter the EPE",
        "odd_recomputation", ("batches", "evaluate", "predict"),
        "The EPE averages over pixels without a label, or leaves out pixels that have one.",
        metric.unknown_flow_is_unscored, sees=("mask", "metric"),
    ),
    Relation(
        "bad-files-named", "a bad file stops the run and is named",
        "bad_files", ("batches",),
        "A sample that is skipped, replaced or repaired in silence changes the data set.",
        altered.bad_input_is_refused, sees=("files",),
    ),
    Relation(
        "frozen-same", "frozen batches score as their files, and another artifact does not",
        "frozen", ("batches", "evaluate", "save", "restore", "train"),
        "The artifact is not what is scored: it is stale, cached or only part of it is used.",
        altered.frozen_scores_are_the_files, sees=("cache",),
    ),
    Relation(
        "cache-never-stale", "a cache serves a file that has changed as it is now",
        "cached", ("batches",),
        "Cached batches are found by name, size or time. Their key must follow from the files' "
        "content, and from everything else that shapes a batch.",
        caching.cache_is_never_stale, sees=("cache",),
    ),
    Relation(
        "checkpoint-verified", "a damaged or absent checkpoint is refused by name",
        "bad_checkpoints", ("save", "restore", "train", "state"),
        "A silent fall-back evaluates or continues something else than was asked for.",
        altered.bad_input_is_refused, sees=("checkpoint",),
    ),
    Relation(
        "nan-score-stops", "a NaN in a weight stops the evaluation and is named",
        "nan_score", ("state", "evaluate"),
        "A NaN score compares as neither better nor worse, so the best checkpoint freezes.",
        altered.bad_input_is_refused, sees=("finite", "metric"),
    ),
    Relation(
        "arch-executed", "an arch's score depends on exactly the options that it names",
        "arch_response", ("state", "evaluate", "describe", "train", "save"),
        "The subnet that runs is not the subnet that was asked for.",
        altered.archs_are_executed, sees=("arch", "evaluation"),
    ),
    Relation(
        "knobs-alive", "every configuration key changes what its kind says, and nothing else",
        "knobs", ("train", "evaluate", "state", "batches"),
        "A key that changes nothing was tuned for nothing; one that changes more than it says "
        "makes runs incomparable.",
        altered.knobs_are_alive, sees=("knobs",), tier="full",
    ),
)  # fmt: skip
