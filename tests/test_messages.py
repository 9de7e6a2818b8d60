"""A violation says in words what differs; digests, tracebacks and lists of arrays do not."""

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import NotApplicableError
from harness.promises import cache, elsewhere, epoch_log, purity, recalibration, refusals
from harness.promises.judge import judge_evidence, tally
from harness.promises.ledger.epoch_figures import clip_figures_follow, loss_average_follows
from harness.promises.ledger.registry import LEDGER_PROMISES
from harness.promises.promise import (
    Outcome,
    Promise,
    Violation,
    differences,
    grouped_differences,
    kind_of_array,
)
from harness.promises.purity import Purity
from harness.promises.refusals import Refusals
from harness.promises.same_scores import Repeat, same_scores
from harness.promises.training import same_training
from harness.records.run import run_evidence
from tests.promise_evidence_altered import CACHED, PLACE
from tests.promise_evidence_recalibration import INPUTS, MOVING, PAIR, population, with_stats
from tests.promise_evidence_scores import ARCHS, BASE, PER_SAMPLE, SHAKEN
from tests.promise_evidence_training import DRAWN, MICRO, ROWS, SERVED
from tests.synthetic_run import make_records

LONG = ("f522a3bb0011223344556677889900aa", "1477b3620011223344556677889900aa")


def first(outcome):
    return str(outcome.violations[0])


# ---- states


def state(*names, digest="1"):
    return dict.fromkeys(names, digest)


NAMES = ("E0/kernel", "E0/moving_mean", "adam/m/E0/kernel", "progress/rng", "progress/step")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("progress/global_step", "counters and generators"),
        ("trained/progress/rng", "counters and generators"),
        ("E0/moving_variance", "moving statistics"), ("bn.running_mean", "moving statistics"),
        ("adam/v/E0/kernel", "optimizer slots"), ("E0/kernel/Adam_1", "optimizer slots"),
        ("exp_avg/0", "optimizer slots"), ("adamant/kernel", "weights"),
        ("E0/kernel", "weights"), ("in_progress", "weights"),
    ],
)  # fmt: skip
def test_an_array_is_of_a_kind_by_its_name(name, kind):
    assert kind_of_array(name) == kind


def test_one_array_is_named_and_its_digests_are_words():
    one, other = {"w": LONG[0], "v": "1"}, {"w": LONG[1], "v": "1"}
    expected = "after: w: expected the same value, found another"
    assert str(grouped_differences(one, other, what="after:")[0]) == expected
    assert str(differences(one, other, what="after:")[0]) == expected


def test_several_arrays_are_counted_by_kind():
    weights = [f"E{i}/kernel" for i in range(9)]
    before, after = state(*NAMES, *weights), state(*NAMES, *weights, digest="2")
    after["E0/moving_mean"] = "1"
    del after["progress/step"]
    lines = [str(v) for v in grouped_differences(before, after, what="after:")]
    assert lines == [
        "after: 9 of 9 weights: expected the same, found others, e.g. E0/kernel",
        "after: adam/m/E0/kernel: expected 1, found 2",
        "after: 2 of 2 counters and generators: expected the same, found others, e.g. "
        "progress/rng; 1 on one side alone",
    ]


DRAWS = ("d1", "d2")


def pure(**changes):
    before = state("w", "progress/train_rng", "progress/order_cursor", "progress/step")
    return Purity(before, before | changes, DRAWS, DRAWS)


def test_an_evaluation_that_moves_generators_alone_says_so():
    both = pure(**{"progress/train_rng": "2", "progress/order_cursor": "2"})
    assert first(purity.evaluation_changes_nothing(both)) == (
        "state after eval 2 of 3 counters and generators: expected the same, found others, e.g. "
        "progress/order_cursor: what training draws from has moved, and no weight or statistic"
    )
    counter = pure(**{"progress/step": "2"})
    assert first(purity.evaluation_changes_nothing(counter)).endswith(
        "expected 1, found 2: counters alone have moved, and no weight or statistic"
    )
    weight = pure(**{"w": "2", "progress/train_rng": "2"})
    lines = [str(v) for v in purity.evaluation_changes_nothing(weight).violations]
    assert [line.count("moved") for line in lines] == [0, 0]


def test_draws_that_move_are_laid_to_the_evaluation():
    found = replace(pure(), draws_after=(LONG[0], "d2"))
    assert first(purity.evaluation_changes_nothing(found)) == (
        "next training epoch, batch 0: expected d1, found f522a3bb...: the evaluation moved what "
        "training draws from"
    )


# ---- batches and scores


def repeated(**changes):
    return same_scores(Repeat(BASE, replace(BASE, **changes), "again"))


def test_other_hashes_are_other_batches():
    lines = [
        first(repeated(**{name: LONG[0]})) for name in ("eval_batch_hash", "bn_recal_batch_hash")
    ]
    assert lines == [
        "again, eval_batch_hash: expected e1, found f522a3bb...: other evaluation batches were "
        "scored",
        "again, bn_recal_batch_hash: expected r1, found f522a3bb...: other batches were "
        "recalibrated on",
    ]


def test_scores_of_another_arch_or_of_other_samples_are_named():
    one, two, _ = ARCHS
    turned = PER_SAMPLE[one][2:] + PER_SAMPLE[one][:2]
    assert first(repeated(per_sample=PER_SAMPLE | {one: PER_SAMPLE[two]})).endswith(
        f"px: the scores of arch {two}"
    )
    assert first(repeated(per_sample=PER_SAMPLE | {one: turned})).endswith(
        "px: the same from number 2 on, then from the start"
    )
    epe = BASE.per_arch_epe
    assert first(repeated(per_arch_epe=(epe[1], epe[0], epe[2]))).endswith(f": that of arch {two}")


def test_a_stale_cache_and_a_mixed_one_are_named():
    check = cache.cache_is_never_stale
    assert first(check(replace(CACHED, changed=CACHED.first))).endswith(
        "expected c3, found a1: what the files held before the change"
    )
    mixed = first(check(replace(CACHED, again=("b2", "a1"))))
    assert mixed.endswith("expected a1, found b2: the content of batch 1")


def test_batches_in_another_order_are_named():
    swapped = replace(DRAWN, states=(SERVED, {"batch 0": "2e", "batch 1": "1d"}))
    assert first(same_training(swapped)).endswith("expected 1d, found 2e: the same from number 1 "
                                                  "on, then from the start")  # fmt: skip
    late = replace(PLACE, draws_there=[PLACE.draws_here[-1], *PLACE.draws_here[:-1]])
    assert "training batches elsewhere: expected the same, found others: " in first(
        elsewhere.place_does_not_matter(late)
    )


# ---- rows of the log

RNG = np.random.default_rng(4)
LOSSES = RNG.random(30).tolist()
# Micro-batches of three archs: 9 in the first step, 6 in the second.
STEP_LOSSES = math.fsum(LOSSES[15:24]) / 9, math.fsum(LOSSES[24:]) / 6
BOTH = replace(
    ROWS.training, losses=tuple(LOSSES), epochs=(replace(MICRO.epochs[0]), *ROWS.training.epochs),
    steps=tuple(replace(step, loss=loss)
                for step, loss in zip(ROWS.training.steps, STEP_LOSSES, strict=True)),
)  # fmt: skip


def logged(**changes):
    row = replace(BOTH.epochs[-1], train_loss_epoch_avg=math.fsum(LOSSES[15:]) / 15)
    training = replace(BOTH, epochs=(BOTH.epochs[0], replace(row, **changes)))
    return epoch_log.epoch_rows_add_up(replace(ROWS, training=training))


ROW = {
    "the mean over each step's last micro-batch alone": (
        "train_loss_epoch_avg", (LOSSES[23] + LOSSES[29]) / 2,
    ),
    "that of the epoch before": ("train_loss_epoch_avg", math.fsum(LOSSES[:15]) / 15),
    "the sum, not the mean": ("train_loss_epoch_avg", math.fsum(LOSSES[15:])),
    "its first step's": ("lr", 0.5),
    "the rate of the step after": ("lr", 0.0),
    "each arch of this epoch counted": ("global_step", 6),
    "the largest of the archs'": ("mean_epe_12", 3.0),
}  # fmt: skip


@pytest.mark.parametrize("what", ROW)
def test_a_cell_of_the_log_is_named(what):
    name, found = ROW[what]
    lines = [str(v) for v in logged(**{name: found}).violations]
    assert any(f"{name}: expected" in line and line.endswith(f": {what}") for line in lines), lines


def test_a_cell_that_nothing_gives_is_not_named():
    assert logged().violations == ()
    assert first(logged(train_loss_epoch_avg=0.123)).endswith("found 0.123")


RUN = run_evidence(make_records())


def changed_row(run, **changes):
    rows = [replace(row, **{k: v(row) for k, v in changes.items()}) for row in run.epochs]
    return replace(run, epochs=tuple(rows))


def losses_of(run, row):
    return [step.loss for step in run.steps if step.epoch == row.epoch]


LEDGER = {
    "the mean over steps, each weighing the same": (
        loss_average_follows, "train_loss_epoch_avg", lambda r: math.fsum(losses_of(RUN, r)) / 3,
    ),
    "the last step's alone": (
        loss_average_follows, "train_loss_epoch_avg", lambda r: losses_of(RUN, r)[-1],
    ),
    "the checks that clip, per step": (
        clip_figures_follow, "clip_rate", lambda r: r.clip_count / 3,
    ),
    "the median over archs": (
        LEDGER_PROMISES["ledger-scores-add-up"].check, "mean_epe_12",
        lambda r: r.per_arch_epe_median,
    ),
    "the deviation divided by one arch less": (
        LEDGER_PROMISES["ledger-scores-add-up"].check, "std_epe_12",
        lambda r: r.std_epe_12 * math.sqrt(5 / 4),
    ),
    "with the other sign": (
        LEDGER_PROMISES["ledger-tau"].check, "kendall_tau_prev",
        lambda r: r.kendall_tau_prev and -r.kendall_tau_prev,
    ),
    "that of a ranking with itself": (
        LEDGER_PROMISES["ledger-tau"].check, "kendall_tau_prev",
        lambda r: r.kendall_tau_prev and 1.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LEDGER)
def test_a_cell_of_a_ledger_is_named(what):
    check, name, change = LEDGER[what]
    assert any(
        str(v).endswith(f": {what}") for v in check(changed_row(RUN, **{name: change})).violations
    )


def test_learning_rates_of_a_ledger_are_named():
    check = LEDGER_PROMISES["ledger-learning-rate"].check
    flat = replace(SHAKEN, steps=tuple(replace(step, lr=1e-3) for step in SHAKEN.steps))
    assert first(check(flat)).endswith(": the base rate in every step, it does not fall")


# ---- recalibration

UNIT = INPUTS["E0"]
MEANS = np.stack([population([x])[0] for x in UNIT])
VARIANCES = np.stack([population([x])[1] for x in UNIT])
EXACT = population(UNIT)
STATISTICS = {
    "the variance over N - 1": (EXACT[0], population(UNIT, ddof=1)[1]),
    "the mean of the batches' variances": (EXACT[0], VARIANCES.mean(axis=0)),
    "the deviation, not the variance": (EXACT[0], np.sqrt(EXACT[1])),
    "the mean of the batches' means, each weighing the same": (MEANS.mean(axis=0), EXACT[1]),
    "of the last batch alone": (MEANS[-1], VARIANCES[-1]),
    "of the first batch alone": (MEANS[0], VARIANCES[0]),
    "the initial value, never updated": (np.zeros(2), np.ones(2)),
    "the moving statistic, updated with momentum 0.9 by each batch": (
        0.9 * (0.1 * MEANS[0]) + 0.1 * MEANS[1], EXACT[1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", STATISTICS)
def test_a_wrong_statistic_is_named(what):
    assert MOVING["E0/moving_mean"].tolist() == [0, 0]
    found = tuple(np.asarray(value, np.float32) for value in STATISTICS[what])
    assert first(recalibration.recal_statistics_are_exact(with_stats(E0=found))).endswith(
        f": {what}"
    )


def test_a_statistic_that_nothing_gives_is_not_named():
    other = (EXACT[0] + np.float32(0.5), EXACT[1])
    assert first(recalibration.recal_statistics_are_exact(with_stats(E0=other))).endswith(")")
    assert recalibration.recal_statistics_are_exact(PAIR).violations == ()


# ---- errors

FOREIGN = """Graph execution error:

Detected at node 'conv2d' defined at (most recent call last):
    File "/home/me/train.py", line 86, in <module>
      model.fit(x)
Node: 'conv2d'
input depth must be divisible by filter depth: 3 vs 6
\t [[{{node conv2d}}]]"""
LINE = "input depth must be divisible by filter depth: 3 vs 6"
ANY = Promise("any", "a promise", lambda evidence: evidence, "Look.")


def raising(error):
    def make():
        raise error

    return make


def test_an_error_is_one_line_and_its_text_a_detail():
    error = RuntimeError(FOREIGN)
    error.add_note("in train() of system mine, in its own process:\nTraceback")
    found = judge_evidence(ANY, raising(error))
    assert (found.verdict, found.text) == ("error", f"RuntimeError: {LINE}")
    assert found.violations == (f"RuntimeError: {LINE}",)
    assert FOREIGN in found.detail
    assert found.detail.endswith("in its own process:\nTraceback")


def test_a_reason_of_a_foreign_system_is_one_line():
    found = judge_evidence(ANY, raising(NotApplicableError(FOREIGN)))
    assert (found.verdict, found.text, found.detail) == ("n/a", LINE, FOREIGN)


def test_a_refusal_is_quoted_in_one_line_and_its_text_a_detail():
    cases = [("flow with NaN", ("b3.flo",), "InvalidArgumentError", FOREIGN)]
    found = judge_evidence(
        replace(ANY, check=refusals.bad_input_is_refused), lambda: Refusals(cases)
    )
    assert found.text == (
        "the message on flow with NaN: expected the name b3.flo, found InvalidArgumentError: "
        f"{LINE}"
    )
    assert FOREIGN in found.detail


def test_one_promise_holds_and_two_promises_hold():
    holding = judge_evidence(ANY, lambda: Outcome((), "figures"))
    broken = judge_evidence(ANY, lambda: Outcome((Violation("a", "b", "c"),), ""))
    assert tally([holding]) == "1 promise holds"
    assert tally([holding, holding, broken]) == "2 promises hold, 1 broken"
