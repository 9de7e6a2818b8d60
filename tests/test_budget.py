import json
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bars import Bar
from harness.cli import main
from harness.commands.budget import _count_macs, _Measured
from harness.config import dump_config, parse_config
from harness.evaluation.advice import advise
from harness.evaluation.budget import (
    Budget,
    Point,
    fit_cost,
    k_grid,
    noise_at,
    recal_effect,
)
from harness.evaluation.ranking import kendall_tau
from harness.fc2.batch_store import MIB
from harness.promises.setting import embedded_config
from harness.reporting.budget import budget_lines, plot_budget
from harness.supernet.sharing.memory import device_bytes

DESIGN = [(1, 1), (4, 1), (1, 4), (4, 4), (2, 2)] * 2
SIZES = [3] * 9 + [1]
RNG = np.random.default_rng(4)
SKILL = np.linspace(1, 2, 12)[:, None]
HARD = RNG.gamma(4, 1, 10)[None]
SCORES = np.asarray(SIZES) * (SKILL * HARD + RNG.normal(0, 0.35, (12, 10)))


def timed(fixed, per_batch, per_recal, noise=0.0):
    rng = np.random.default_rng(7)
    return [
        Point(k, r, fixed + per_batch * k + per_recal * r + noise * rng.normal()) for k, r in DESIGN
    ]


@cache
def noise():
    return tuple(noise_at(SCORES, SIZES, k, seed=5) for k in k_grid(10))


def budget(**changes):
    recal = recal_effect({2: SKILL[:, 0] + 0.001, 4: SKILL[:, 0]})
    cost = fit_cost(timed(0.5, 2, 1))
    found = Budget(12, "a net", {"shared": 1, "dense": 3}, cost, noise(), recal, Point(10, 4, 25.0))
    return replace(found, **changes)


@dataclass(frozen=True)
class Protocol:
    """What is evaluated, as far as a budget cuts it short."""

    eval_batches: tuple
    recal_batches: tuple


@given(costs=st.tuples(*[st.floats(0, 100)] * 3))
@settings(max_examples=50)
def test_planted_costs_are_found(costs):
    found = fit_cost(timed(*costs))
    assert np.allclose((found.fixed, found.per_batch, found.per_recal), costs, atol=1e-6)
    assert abs(found.worst) < 1e-6


def test_no_cost_is_negative_where_least_squares_would_give_one():
    points = timed(0, 1, 1, noise=1.0)
    rows = np.array([[1, p.batches, p.recal] for p in points])
    plain = np.linalg.lstsq(rows, np.array([p.seconds for p in points]))[0]
    found = fit_cost(points)
    assert plain.min() < 0
    assert min(found.fixed, found.per_batch, found.per_recal) >= 0


@pytest.mark.parametrize("pairs", [[(1, 1), (2, 2), (4, 4)], [(1, 1), (2, 1), (4, 1)]])
def test_points_that_do_not_tell_costs_apart_are_refused(pairs):
    with pytest.raises(ValueError, match=r"points of several K and R, got \(K, R\) \[\(1, 1\)"):
        fit_cost([Point(k, r, 1.0) for k, r in pairs])


@given(whole=st.integers(1, 700))
def test_the_grid_ends_with_the_whole_split(whole):
    grid = k_grid(whole)
    assert (grid[0], grid[-1]) == (1, whole)
    assert list(grid) == sorted(set(grid))


@pytest.mark.parametrize("batches", k_grid(10))
def test_noise_is_that_of_the_scores(batches):
    found = noise_at(SCORES, SIZES, batches, seed=5)
    means, head = SCORES / SIZES, SCORES[:, :batches].sum(axis=1) / sum(SIZES[:batches])
    whole = SCORES.sum(axis=1) / sum(SIZES)
    assert found.samples == sum(SIZES[:batches])
    assert found.mean_epe == pytest.approx(head.mean())
    pool = means.mean(axis=0)
    assert found.standard_error == pytest.approx(pool.std(ddof=1) / np.sqrt(batches))
    pairs = [np.std(means[i] - means[j], ddof=1) for i in range(12) for j in range(i)]
    variance = np.median(np.square(pairs)) / batches
    assert found.pair_error == pytest.approx(np.sqrt(variance))
    assert found.pair_error < found.standard_error  # hard batches are hard for all
    assert found.tau == kendall_tau(head.tolist(), whole.tolist())[0]
    assert found == noise_at(SCORES, SIZES, batches, seed=5)
    assert found.tau_low <= found.tau_mean <= 1
    if batches == 10:
        assert (found.tau, found.tau_mean, found.tau_low) == pytest.approx((1, 1, 1))


def test_constant_rankings_have_no_tau_and_get_no_advice():
    flat = tuple(noise_at(np.ones((3, 4)), [1] * 4, k, seed=5) for k in (1, 4))
    assert [entry.tau for entry in flat] == [None, None]
    found = advise(budget(noise=flat), tau=0.9)
    assert found.batches is None
    assert "no K ranks these archs: this ranking is constant" in found.reasons[0]


@pytest.mark.parametrize("tau", [0.3, 0.6, 0.8, 0.9, 0.95, 1.0])
def test_the_smallest_k_is_advised_from_which_on_tau_stays(tau):
    found, entries = advise(budget(), tau=tau), budget().noise
    after = [entry.tau_mean for entry in entries if entry.batches >= found.batches]
    assert min(after) >= tau - 1e-9
    before = [entry for entry in entries if entry.batches < found.batches]
    assert not before or before[-1].tau_mean < tau
    assert found.seconds == budget().cost.seconds(found.batches, found.recal)


@given(limit=st.floats(0.1, 40))
@settings(max_examples=60)
def test_what_is_advised_fits_the_limit_and_one_batch_more_does_not(limit):
    measured = budget()
    found = advise(measured, limit=limit)
    if found.batches is None:
        assert measured.cost.seconds(1, 2) > limit * (1 - 1e-9)
        assert "the least, K = 1 and R = 2, takes 4.5 s" in found.reasons[0]
        return
    assert found.seconds <= limit * (1 + 1e-9)
    assert (
        found.batches == 10 or measured.cost.seconds(found.batches + 1, found.recal) > limit - 1e-6
    )


def test_recalibration_that_moves_scores_by_more_than_the_noise_is_not_saved_on():
    assert advise(budget(), tau=0.9).recal == 2
    moved = recal_effect({2: SKILL[::-1, 0], 4: SKILL[:, 0]})
    assert moved[0].tau == pytest.approx(-1)
    found = advise(budget(recal=moved), tau=0.9)
    assert found.recal == 4
    assert "fewer move a score by more than the noise" in found.reasons[1]


def test_a_limit_that_the_resolution_does_not_fit_is_told():
    found = advise(budget(), tau=1.0, limit=5.0)
    assert found.batches is None
    assert "no setting does both" in found.reasons[-1]


@pytest.mark.parametrize("form", ["png", "svg", "html"])
def test_a_budget_is_plotted_and_the_same_numbers_give_the_same_bytes(tmp_path, form):
    measured, written = budget(), []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{form}"
        plot_budget(path, measured, advise(measured, tau=0.9), title="12 archs")
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert written[0].startswith({"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!DOC"}[form])


def test_lines_for_people_hold_the_fit_the_noise_and_the_advice():
    text = "\n".join(budget_lines(budget(), advise(budget(), tau=0.9)))
    rows = text.splitlines()
    head = next(place for place, row in enumerate(rows) if row.startswith("  K  samples"))
    assert {len(row) for row in rows[head : head + 2]} == {80}  # a terminal's columns
    assert "seconds = 0.5000 + 2.0000 K + 1.0000 R, by non-negative least squares" in text
    assert "the whole split, K = 10 and R = 4, took 25.0000 s, 24.5000 s by the fit" in text
    assert "advice: eval.eval_batches_per_arch=" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "plot.pdf"], "--out plot.pdf: expected a name that ends in .png, .svg, .html"),
        (["--time-limit", "0"], "--time-limit: expected a number, above 0, up to 1e+09 s, got '0'"),
        (
            ["--out", "no/plot.svg"],
            "no/plot.svg: not written: there is no folder no; make it first",
        ),
        (["--json", "no/b.json"], "no/b.json: not written: there is no folder no; make it first"),
        (["--tau", "1.5"], "--tau: expected a number, above 0, up to 1, got '1.5'"),
    ],
)
def test_wrong_options_are_one_plain_line(embedded_frames, tmp_path, capsys, words, message):
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(embedded_config(embedded_frames)))
    assert main(["budget", "--config", str(path), *words]) == 2
    assert message in capsys.readouterr().err


def test_the_memory_that_is_told_holds_recalibration_batches_side_by_side(capsys):
    from harness.evaluation.on_device import scoring_bytes

    config = parse_config({"model": {"width": 4}})
    shape = (2, *config.eval_crop, 6)
    batches = [SimpleNamespace(size=2, frames=np.empty(shape, np.uint8)) for _ in range(3)]
    protocol = SimpleNamespace(
        pool=[(0, 1, 2) * 3], eval_batches=batches[:1], recal_batches=batches
    )  # fmt: skip
    evaluator = SimpleNamespace(samples_at_once=lambda *_: 2, scored_on="device")
    _count_macs(config, protocol, evaluator)
    # All three lie side by side, where a call scores two samples.
    due = device_bytes("full", 4, config.eval_crop, 6, scoring_bytes())
    assert f"at most {due / MIB:.0f} MiB of values" in capsys.readouterr().out


def test_each_evaluation_of_a_budget_is_named_before_it_is_made():
    told = []

    def evaluate(_, protocol):
        told.append((len(protocol.eval_batches), len(protocol.recal_batches)))
        epes = [1.0, 2.0]
        return SimpleNamespace(per_arch_epe=epes), {"a": epes * len(protocol.eval_batches)}

    session = SimpleNamespace(
        model=SimpleNamespace(weight_tensors=dict), evaluator=SimpleNamespace(evaluate=evaluate)
    )
    protocol = Protocol((SimpleNamespace(size=2),) * 9, (None,) * 4)
    measured = _Measured(session, protocol, Bar(advance=told.append, say=told.append))
    measured.compile([1, 4])
    measured.timed(2, 1)
    measured.per_batch()
    assert measured.by_recal() == {2: [1.0, 2.0], 4: [1.0, 2.0]}
    assert told == [
        "compiles: K = 1, R = 1", (1, 1), 1, "compiles: K = 1, R = 4", (1, 4), 1,
        "times: K = 2, R = 1", (2, 1), 1, "scores the whole split: K = 9, R = 4", (9, 4), 1,
        "compares R: K = 8, R = 2", (8, 2), 1, "compares R: K = 8, R = 4", (8, 4), 1,
    ]  # fmt: skip


@pytest.mark.slow
def test_a_budget_is_measured_on_the_users_data(embedded_frames, tmp_path, capsys):
    path, result = tmp_path / "config.yaml", tmp_path / "budget.json"
    config = embedded_config(embedded_frames)
    path.write_text(dump_config(config))
    words = ["budget", "--config", str(path), "--pool", "3", "--json", str(result)]
    assert main([*words, "--tau", "0.5", "--out", str(tmp_path / "plot.html")]) == 0
    found = json.loads(result.read_text())
    assert found["pool"] == 3
    assert [entry["batches"] for entry in found["noise"]] == [1, 2, 3]
    assert found["noise"][-1]["samples"] == 7
    assert found["advice"]["batches_per_arch"] in (1, 2, 3)
    assert found["macs"]["dense"] > found["macs"]["chosen"] >= found["macs"]["shared"] > 0
    assert "note: initial weights" in capsys.readouterr().out
    assert (tmp_path / "plot.html").exists()
    assert main([*words, "--time-limit", "1e-6"]) == 2
    assert "the least, K = 1 and R = 1, takes" in capsys.readouterr().err
    assert json.loads(result.read_text())["advice"]["batches_per_arch"] is None
