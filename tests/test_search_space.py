"""What scores say of the space: costs, fronts, effects with their errors, stability."""

import csv
import io
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli import main
from harness.errors import InputError
from harness.evaluation.ranking import build_pool
from harness.evaluation.scored_space import csv_text, scored_space
from harness.evaluation.search_space import (
    SPACE_SIZE,
    main_effects,
    pareto_front,
    stability_by_batches,
)
from harness.reporting.forest import forest
from harness.reporting.pool_space import rank_tau
from harness.reporting.space import space_lines
from harness.reporting.space_file import read_space
from harness.sealed import sealed_values
from harness.supernet.costs import option_names, space_costs
from harness.supernet.macs import pool_macs
from harness.supernet.space import (
    SKELETONS,
    active_units,
    format_arch,
    option_kernels,
    variable_shapes,
)

SIZE = (32, 48)
WHOLE = tuple(itertools.product(range(3), repeat=9))
RNG = np.random.default_rng(11)
PLANTED = np.array([RNG.permutation([-0.3, 0.05, 0.25]) for _ in range(9)])
PAIRS = RNG.normal(0, 0.3, (3, 3))
PAIRS -= PAIRS.mean(axis=0) + PAIRS.mean(axis=1)[:, None] - PAIRS.mean()
NOISE = RNG.normal(0, 0.05, SPACE_SIZE)
CODES = np.array(WHOLE)


def truth(codes=CODES):
    """Return scores whose effects are planted; two blocks interact, which moves no effect."""
    additive = 3 + PLANTED[np.arange(9), codes].sum(axis=1)
    return additive + PAIRS[codes[:, 0], codes[:, 4]]


@pytest.mark.parametrize("skeleton", list(SKELETONS))
def test_costs_are_those_of_what_runs(skeleton):
    pool = build_pool(seed=5, size=23)
    costs, space = space_costs(skeleton, 5, SIZE), SKELETONS[skeleton]
    macs = costs.macs.of(pool)
    together = pool_macs(skeleton, 5, SIZE, pool, recal_samples=0, eval_samples=1)
    assert macs.sum() == together.chosen
    assert macs.tolist() == [
        pool_macs(skeleton, 5, SIZE, [arch], recal_samples=0, eval_samples=1).chosen
        for arch in pool
    ]
    shapes = variable_shapes(space, 5)
    kernels = option_kernels(space)
    for arch, found in zip(pool, costs.parameters.of(pool), strict=True):
        idle = {
            name for block, code in zip(kernels, arch, strict=True)
            for option in block for name in option if name not in block[code]
        }  # fmt: skip
        units = set(active_units(space, arch))
        runs = [
            shape for name, shape in shapes.items()
            if name not in idle and (name.endswith("/kernel") or name.rpartition("/")[0] in units)
        ]  # fmt: skip
        assert found == sum(int(np.prod(shape)) for shape in runs)
    assert [len(options) for _, options in option_names(skeleton)] == [3] * 9


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9).map(float)), min_size=0, max_size=30)
)
@settings(max_examples=200)
def test_on_a_front_are_those_that_none_dominates(archs):
    costs, scores = [cost for cost, _ in archs], [score for _, score in archs]
    found = pareto_front(np.array(costs, np.int64), scores)
    assert found == [
        not any(c <= cost and s <= score and (c, s) != (cost, score) for c, s in archs)
        for cost, score in archs
    ]


def test_over_the_whole_space_effects_are_exact_and_shares_add_up():
    scores = truth()
    found = main_effects(WHOLE, scores)
    values = np.array([e.effect for e in found.effects]).reshape(9, 3)
    assert np.allclose(values, PLANTED, rtol=0, atol=1e-12)
    assert {e.over_archs for e in found.effects} == {0.0}
    assert {e.over_samples for e in found.effects} == {None}
    assert {e.archs for e in found.effects} == {SPACE_SIZE // 3}
    interaction = (PAIRS**2).mean() / scores.var()
    assert sum(found.shares) == pytest.approx(1 - interaction, abs=1e-12)
    assert interaction > 0.01


@pytest.mark.parametrize("size", [40, 300, pytest.param(15_000, marks=pytest.mark.slow)])
def test_of_a_pool_two_standard_errors_hold_what_the_whole_space_says(size):
    scores = truth() + NOISE
    exact = np.array([e.effect for e in main_effects(WHOLE, scores).effects])
    held = []
    for draw in range(30):
        places = np.random.default_rng(draw).choice(SPACE_SIZE, size, replace=False)
        found = main_effects(CODES[places], scores[places]).effects
        off = np.abs(np.array([e.effect for e in found]) - exact)
        held.append(off <= 2 * np.array([e.over_archs for e in found]))
    assert 0.92 < np.mean(held) < 0.98


def test_the_error_over_samples_is_that_of_the_mean_over_them():
    hard = RNG.normal(0, 1, (1, 50))
    each = truth()[:, None] + hard + RNG.normal(0, 0.4, (1, 50)) * PLANTED[0, CODES[:, :1]]
    found = main_effects(WHOLE, each).effects
    # What is hard for all archs alike moves no effect.
    assert all(e.over_samples < 1e-12 for e in found[3:])
    by_sample = each[CODES[:, 0] == 1].mean(axis=0) - each.mean(axis=0)
    assert found[1].over_samples == pytest.approx(by_sample.std(ddof=1) / np.sqrt(50), rel=1e-9)
    (single,) = {e.over_samples for e in main_effects(WHOLE, truth()[:, None]).effects}
    assert single is None


def test_a_pool_that_cannot_tell_effects_apart_says_so():
    pool = build_pool(seed=42, size=12)
    found = main_effects(pool, truth(np.array(pool)))
    assert found.effects == ()
    assert found.reason == (
        "12 archs cannot tell the effects of 9 blocks apart, which have 19 coefficients (rank 12); "
        "score more archs"
    )
    assert main_effects(pool[:1], np.array([2.5])).reason.startswith("1 archs cannot tell")
    with pytest.raises(ValueError, match="each arch once, got 2 with some twice"):
        main_effects([pool[0], pool[0]], np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="a finite score of each arch"):
        main_effects(pool, np.full(12, np.nan))


def test_stability_in_k_is_tau_of_the_first_batches_samples():
    scores = np.array([[1.0, 9.0, 1.0], [2.0, 1.0, 1.0], [3.0, 1.0, 1.0]])
    (found,) = stability_by_batches(scores, [1, 2])
    assert (found.batches, found.samples) == (1, 1)
    assert found.tau == pytest.approx(-1 / 3)
    assert stability_by_batches(scores, [3]) == ()


POOL = build_pool(seed=42, size=40)
ARCHS = tuple(map(format_arch, POOL))
EPE = tuple(float(value) for value in truth(np.array(POOL)))
SAMPLES = {arch: [epe - 0.5, epe + 0.5] for arch, epe in zip(ARCHS, EPE, strict=True)}


def scored(archs=ARCHS, epe=EPE, **options):
    return scored_space(archs, epe, skeleton="full", width=2, size=SIZE, **options)


def test_the_table_has_every_arch_with_all_digits():
    space = scored()
    rows = list(csv.DictReader(io.StringIO(csv_text(space))))
    assert [row["arch"] for row in rows] == list(ARCHS)
    assert [float(row["epe_px"]) for row in rows] == list(EPE)
    for kind in ("macs", "parameters"):
        assert [int(row[kind]) for row in rows] == list(space.cost(kind))
        on = [row["arch"] for row in rows if row[f"on_front_{kind}"] == "1"]
        assert set(on) == {ARCHS[place] for place in space.front(kind)} != set()


def test_only_a_table_of_archs_is_written_over(tmp_path, capsys):
    mine, table = tmp_path / "mine.csv", tmp_path / "table.csv"
    mine.write_text("name,value\nmine,1\n")
    table.write_text(csv_text(scored()))
    for file, message in ((mine, f"--csv {mine}: holds something else"), (table, "config.yaml")):
        before = file.read_bytes()
        assert main(["eval", "--run", str(tmp_path), "--csv", str(file)]) == 2
        assert message in capsys.readouterr().err
        assert file.read_bytes() == before


def test_lines_say_the_front_each_block_and_what_is_absent():
    lines = list(space_lines(scored(per_sample=SAMPLES, batch_sizes=[1, 1])))
    assert lines[0].startswith(f"front of EPE against MACs: {len(scored().front('macs'))} of 40")
    assert sum("+" in line or "-0." in line for line in lines) >= 27
    assert any("SE archs   SE samples" in line for line in lines)
    assert lines[-1] == "ranking on the first batch against that on all: tau-b 1.0000"
    few = list(space_lines(scored(ARCHS[:12], EPE[:12])))
    assert "what each block contributes: not known: 12 archs cannot tell" in few[-1]


def test_an_option_has_the_digit_of_an_arch_s_code_in_lines_and_in_the_plot():
    space = scored(per_sample=SAMPLES, batch_sizes=[1, 1])
    lines, svg = "\n".join(space_lines(space)), forest(space)
    for block, options in space.blocks:
        assert block in svg
        for digit, name in enumerate(options):
            assert f" {digit}: {name} " in lines
            assert f">{digit}: {name}</text>" in svg


def written(path, **changes):
    space = scored(per_sample=SAMPLES, batch_sizes=[1, 1])
    content = {
        "archs": ARCHS, "per_arch_epe": EPE, "checkpoint": "c", "checkpoint_digest": "d",
        "epoch": 3, "batches": 2, "recal_batches": 4, "eval_batch_hash": "e",
        "bn_recal_batch_hash": "b", "space": space.as_dict(), **changes,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return space


def test_what_an_evaluation_wrote_is_read_as_it_was(tmp_path):
    space = written(tmp_path / "e.json")
    found = read_space(tmp_path / "e.json")
    assert found.label == (
        "e.json: 40 archs, epoch 3, 2 validation batches (K), 4 to recalibrate (R)"
    )
    assert found.space.as_dict() == json.loads(json.dumps(space.as_dict()), parse_constant=str) | {
        "effects": found.space.as_dict()["effects"]
    }
    for one, other in zip(found.space.effects.effects, space.effects.effects, strict=True):
        assert one.effect == pytest.approx(other.effect, rel=1e-9)
        assert one.over_samples == other.over_samples


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": None}, "space: "),
        ({"archs": ["012"]}, "an arch code has 9 codes"),
        ({"archs": [ARCHS[0]] * 40}, "each arch once, got 40 with some twice"),
        ({"per_arch_epe": list(EPE[:39])}, "a finite score of each arch, got (39, 1)"),
        ({"epoch": "three"}, "epoch: Input should be a valid integer"),
    ],
)
def test_what_is_no_evaluation_is_refused_by_name(changes, message, tmp_path):
    written(tmp_path / "e.json", **changes)
    with pytest.raises(InputError) as refused:
        read_space(tmp_path / "e.json")
    assert str(refused.value).startswith(f"{tmp_path / 'e.json'}: ")
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_result_that_was_changed_is_refused_and_one_without_a_digest_is_told(
    tmp_path,
):
    path, told = tmp_path / "e.json", []
    written(path)
    read_space(path, told.append)
    assert [text for text in told if "without a digest" in text] == told != []
    content = json.loads(path.read_text())
    sealed = json.dumps(sealed_values(content))
    path.write_text(sealed)
    assert read_space(path, told.append).epoch == 3
    assert len(told) == 1
    path.write_text(sealed.replace('"epoch": 3', '"epoch": 4'))
    with pytest.raises(InputError, match="it was changed since it was written"):
        read_space(path)


@pytest.mark.parametrize(
    "changes", [{"epoch": True}, {"per_arch_epe": ["1.5"] * 40}, {"batches": "2"}]
)
def test_what_an_evaluation_holds_is_of_its_type(changes, tmp_path):
    written(tmp_path / "e.json", **changes)
    with pytest.raises(InputError, match="Input should be a valid"):
        read_space(tmp_path / "e.json")


def test_codes_of_two_skeletons_are_not_held_against_each_other():
    one, other = (
        scored_space(ARCHS, EPE, skeleton=name, width=2, size=SIZE)
        for name in ("full", "decoupled")
    )
    found = rank_tau(("a", one), ("b", other))
    assert (found.tau, found.archs) == (None, 0)
    assert "full and decoupled" in found.reason
    assert rank_tau(("a", one), ("b", one)).tau == 1


def test_an_evaluation_of_an_earlier_version_is_told_what_it_lacks(tmp_path):
    written(tmp_path / "e.json")
    content = json.loads((tmp_path / "e.json").read_text())
    del content["space"]
    (tmp_path / "e.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="it says nothing of the search space: `harness eval"):
        read_space(tmp_path / "e.json")


@pytest.mark.parametrize("epe", [0.1, 10.9, 1 / 3])
@pytest.mark.parametrize("samples", [1, 7])
def test_archs_that_score_alike_have_no_effect_and_no_share(epe, samples):
    # What a dead metric gives: means of equal numbers differ by their rounding alone.
    hard = epe * np.linspace(0.7, 1.3, samples) if samples > 1 else np.array([epe])
    for scores in (np.full(SPACE_SIZE, epe), np.tile(hard, (SPACE_SIZE, 1))):
        found = main_effects(WHOLE, scores)
        assert found.shares == ()
        assert {e.effect for e in found.effects} == {0.0}
        assert {e.over_samples for e in found.effects} <= {None, 0.0}
