"""Promises about data, evaluation, recalibration and the metric."""

from harness.relations import data, evaluation, metric, recalibration
from harness.relations.base import Relation, Tier

__all__ = ["MEASURING"]

_REPEAT = (
    "The number moves although the model does not. Look for random sampling or cropping in "
    "evaluation, a cursor that is not reset, or state carried from one arch to the next."
)
_RECAL = (
    "Recalibration must compute the population mean and variance (divided by N) of exactly "
    "the named batches. In TensorFlow 1 graphs, check that the update ops are fetched."
)
_ALL = ("evaluate", "train", "state", "save", "restore")


def _repeat(
    name: str, how: str, tier: Tier = "quick", calls: tuple[str, ...] = ("evaluate",)
) -> Relation:
    return Relation(
        f"same-scores-{name}",
        f"the same checkpoint scores the same {how}",
        f"repeat_{name}",
        calls,
        _REPEAT,
        evaluation.same_scores,
        ("evaluation", "data", "metric", "recalibration", "determinism")
        + (() if name == "fresh" else ("repeat",)),
        tier,
    )


MEASURING: tuple[Relation, ...] = (
    _repeat("again", "when evaluated again"),
    _repeat("fresh", "in a fresh process", calls=_ALL),
    _repeat("permuted", "with the pool in another order"),
    _repeat("subset", "when only part of the pool is asked"),
    Relation(
        "same-scores-alone", "archs that are scored together score as each one alone",
        "repeat_alone", ("evaluate",),
        "Archs share a value or a statistic whose inputs differ. Look for a cache whose key "
        "leaves out a code that the value depends on.",
        evaluation.same_scores, sees=("sharing",),
    ),
    *(
        _repeat(name, f"when skeleton {name} is trained again", "full", ("evaluate", "train"))
        for name in ("full", "bilinear", "decoupled")
    ),
    Relation(
        "same-scores-prefix", "the first batches score the same with a larger K",
        "repeat_prefix", ("evaluate", "batches"), _REPEAT, evaluation.same_scores,
        sees=("evaluation", "metric", "determinism", "repeat"),
    ),
    Relation(
        "eval-crop-centred", "evaluation serves the centre crop, the same in frames and flow",
        "served", ("batches",),
        "The pixels served are not the centre window of the files. Check H against W, BGR "
        "against RGB, u against v, and that the flow is cropped with the frames.",
        data.eval_crop_is_centred, sees=("data", "served"),
    ),
    Relation(
        "eval-order-fixed", "evaluation serves the split in a fixed order, each sample once",
        "served", ("batches",),
        "Evaluation must start from the first sample each time, never where it stopped before.",
        data.eval_order_is_fixed, sees=("data", "served"),
    ),
    Relation(
        "recal-batches-first",
        "recalibration uses the first batches of the training split, centre crop",
        "served_recal",
        ("batches",),
        "Recalibration must see training frames, all R batches of them, from the start.",
        data.recal_batches_are_the_first, sees=("data", "recalibration", "served"),
    ),
    Relation(
        "train-draws-declared", "training draws are as declared, new each epoch and per seed",
        "draws", ("batches",),
        "Epochs that repeat one order or one set of crops train on less data than they seem to.",
        data.training_draws_are_declared, sees=("data", "determinism", "served"),
    ),
    Relation(
        "eval-pure", "an evaluation changes no variable, statistic, counter or draw",
        "purity", ("state", "evaluate"),
        "Evaluation shares something with training: a provider, a generator, or BN statistics.",
        evaluation.evaluation_changes_nothing, sees=("evaluation", "data", "determinism", "repeat"),
    ),
    Relation(
        "recal-batches-fixed", "recalibration uses the same batches everywhere",
        "recal_hashes", ("evaluate", "train", "batches", "recalibrate"),
        "The batches behind the BN statistics move, and the EPE moves with them.",
        recalibration.recal_batches_are_fixed,
        sees=("data", "recalibration", "determinism", "cache"),
    ),
    Relation(
        "recal-statistics-exact", "recalibrated statistics are those of exactly those batches",
        "recal_pair", ("recalibrate", "state", "evaluate"), _RECAL,
        recalibration.recal_statistics_are_exact, sees=("recalibration", "evaluation"),
    ),
    Relation(
        "recal-effective", "recalibration takes effect and forgets the moving statistics",
        "recal_pair", ("recalibrate", "state", "evaluate"), _RECAL,
        recalibration.recal_ignores_the_past,
        sees=("recalibration", "evaluation"),
    ),
    Relation(
        "metric-oracle", "a perfect prediction scores 0, ground truth plus (3, 4) scores 5 px",
        "oracle", ("score", "batches"),
        "The metric does not score the accumulated full-scale flow.",
        metric.metric_gives_known_answers, sees=("metric",),
    ),
    Relation(
        "metric-recomputed", "the reported EPE is that of the predicted flow",
        "recomputation", ("predict", "evaluate", "batches"),
        "The outputs are residuals: scoring the last one alone leaves the EPE near that of an "
        "all-zero flow. Samples must weigh equally, whatever batch they are in.",
        metric.metric_is_recomputed, sees=("metric", "evaluation"),
    ),
    Relation(
        "metric-alive", "the EPE responds to every output head and differs between archs",
        "response", ("evaluate", "state", "describe"),
        "A metric that does not move when the model moves is dead: fix it before tuning anything.",
        metric.metric_is_alive, sees=("metric", "evaluation", "arch"),
    ),
)  # fmt: skip
