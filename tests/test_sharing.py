"""Archs share every computation whose inputs agree, and no other."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.config import parse_config
from harness.environment import apply_environment
from harness.errors import InputError
from harness.evaluation.ranking import build_pool
from harness.fc2.batch import Batch
from harness.supernet.macs import pool_macs
from harness.supernet.sharing.memory import walk_bytes
from harness.supernet.sharing.order import distinct, schedule, subtrees, walk_order
from harness.supernet.sharing.plan import plan_of
from harness.supernet.space import SKELETONS

SPACE = tuple(itertools.product(range(3), repeat=9))
WIDTH, SIZES, CROP = 2, (3, 2), (16, 32)


@pytest.fixture(scope="module")
def tensorflow():
    apply_environment(parse_config({}))


def test_what_a_value_depends_on_follows_from_the_skeleton():
    found = {
        name: {n.depends for n in plan_of(name).nodes.values() if n.stage.name in heads}
        for name, heads in (
            ("full", {"H0Out", "H1", "H1Out", "H2", "H2Out"}),
            ("bilinear", {"H2Out"}),
        )
    }
    assert found["full"] == {(0, 1, 2), (0, 1, 2, 3), (0, 1, 2, 3, 5), (0, 1, 2, 3, 7)}
    assert found["bilinear"] == {(0, 1, 2, 3, 5, 7)}
    plan = plan_of("full")
    outputs = [
        len(distinct((*node.depends, plan.skeleton.code_index(node.stage)), SPACE))
        for node in plan.outputs
    ]
    assert outputs == [81, 729, 729]


def test_macs_are_those_of_the_paper_count():
    arguments = {"recal_samples": 0, "eval_samples": 1}
    space = pool_macs("full", 32, (180, 240), SPACE, **arguments)
    twelve = pool_macs("full", 32, (180, 240), build_pool(seed=42, size=12), **arguments)
    assert [round(v / 1e12, 2) for v in (space.shared, space.dense)] == [3.46, 1570.33]
    assert round(twelve.dense / 1e12, 2) == 0.96
    for name, skeleton in SKELETONS.items():
        one = pool_macs(name, 4, (16 * 3, 16 * 5), SPACE[5:6], recal_samples=2, eval_samples=3)
        assert one.shared == one.chosen < one.dense
        assert skeleton.name == name


def test_the_memory_bound_is_that_of_the_paper_count():
    bound = walk_bytes("full", 32, (180, 240), 6)
    assert bound == 4 * 6 * 180 * 240 * (42 * 32 + 109.5)
    with pytest.raises(ValueError, match="crop 18 x 32"):
        walk_bytes("full", 1, (18, 32), 1)
    decoupled, nested = (walk_bytes(name, 4, (16, 32), 2) for name in ("decoupled", "bilinear"))
    assert decoupled > nested


@given(st.permutations(range(12)), st.integers(2, 12))
def test_the_walk_visits_each_arch_once_and_leaves_no_subtree_before_it_is_done(order, size):
    pool = [build_pool(seed=3, size=12)[i] for i in order[:size]]
    walked = walk_order(pool)
    assert sorted(walked) == sorted(pool)
    for depth in range(1, 9):
        prefixes = [arch[:depth] for arch in walked]
        assert len(list(itertools.groupby(prefixes))) == len(set(prefixes))
    plan = plan_of("full")
    assert [a for s in subtrees(plan, walked) for a in s.archs] == list(walked)
    assert min(schedule(plan, pool).score.values()) >= 1


@given(
    hnp.arrays(np.float32, (2, 3, 2, 4), elements=st.floats(-1e3, 1e3, width=32)),
    hnp.arrays(np.float32, (2, 6, 4, 4), elements=st.floats(-1e3, 1e3, width=32)),
)
def test_the_sum_over_scales_has_the_bits_of_the_accumulated_flow(tensorflow, coarse, middle):
    from harness.supernet.loss import accumulate_flow
    from harness.supernet.sharing.flow import as_planes, as_samples, double

    fine = np.ones((2, 12, 8, 4), np.float32) * np.float32(0.1)
    expected = np.asarray(accumulate_flow([coarse, middle, fine]))
    planes = [as_planes(output[..., :2]) for output in (coarse, middle, fine)]
    found = as_samples(double(double(planes[0]) + planes[1]) + planes[2])
    assert np.array_equal(found, expected)


def batch(seed: int, size: int) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        tuple(f"{seed}-{i}" for i in range(size)), (None,) * size,
        rng.integers(0, 256, (size, *CROP, 6), np.uint8),
        rng.normal(0, 3, (size, *CROP, 2)).astype(np.float32),
        rng.random((size, *CROP)) < 0.9, None, str(seed),
    )  # fmt: skip


@pytest.fixture(scope="module")
def setting(tensorflow):
    """Return an evaluator, weights and a protocol by the skeleton's name."""
    from harness.evaluation.evaluator import Evaluator, Protocol
    from harness.training.model import Supernet

    neighbours = [(1,) * i + (2,) + (1,) * (8 - i) for i in range(9)]
    pool = ((1,) * 9, *neighbours, (0,) * 9)
    batches = [tuple(batch(10 * k + i, n) for i, n in enumerate(SIZES)) for k in (1, 2)]
    protocol = Protocol(pool, *batches, 2)

    def made(skeleton):
        weights = Supernet(skeleton, WIDTH, 7).weight_tensors()
        return Evaluator(skeleton, WIDTH), weights, protocol

    return made


@pytest.mark.parametrize(
    "skeleton", [pytest.param(n, marks=[pytest.mark.slow] * (n != "full")) for n in SKELETONS]
)
def test_an_arch_among_others_has_the_bits_of_the_arch_alone(setting, skeleton):
    evaluator, weights, protocol = setting(skeleton)
    _, together = evaluator.evaluate(weights, protocol)
    shared = evaluator.share(weights, protocol.pool)
    shared.gather(protocol.recal_batches, lambda: None)
    for arch in protocol.pool:
        stats = evaluator.recalibrate(weights, arch, protocol.recal_batches)
        among = evaluator.recalibrate(shared, arch, protocol.recal_batches)
        assert stats.keys() == among.keys()
        for unit, pair in stats.items():
            assert all(np.array_equal(*values) for values in zip(pair, among[unit], strict=True))
        _, alone = evaluator.evaluate(weights, replace(protocol, pool=(arch,)))
        assert alone.items() <= together.items()
    flow = evaluator.predict(weights, arch, stats, protocol.eval_batches[0])
    outputs = evaluator.outputs(weights, arch, stats, protocol.eval_batches[0].frames)
    whole = np.asarray(evaluator.parts.accumulate_flow(outputs))
    np.testing.assert_allclose(flow, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())


def test_scores_do_not_depend_on_how_samples_are_split(setting, monkeypatch):
    from harness.evaluation import scoring

    evaluator, weights, protocol = setting("full")
    protocol = replace(protocol, pool=protocol.pool[:4])
    assert [piece.size for piece in scoring.score_pieces(protocol.eval_batches)] == [5]
    _, whole = evaluator.evaluate(weights, protocol)
    for size in (1, 2, 4):
        monkeypatch.setattr(scoring, "score_split", lambda *_, size=size: size)
        assert evaluator.evaluate(weights, protocol)[1] == whole
    monkeypatch.undo()
    assert scoring.score_split(180, 240) == 6


def test_statistics_do_not_depend_on_which_batches_lie_side_by_side(setting, monkeypatch):
    from harness.evaluation import scoring

    evaluator, weights, protocol = setting("bilinear")
    batches = tuple(batch(40 + i, n) for i, n in enumerate((3, 3, 3, 2, 3)))
    protocol = replace(protocol, pool=protocol.pool[-3:], recal_batches=batches)
    digests = set()
    for pixels, pieces in ((0, [1] * 5), (7 * 16 * 32, [2, 1, 1, 1]), (1 << 18, [3, 1, 1])):
        monkeypatch.setattr(scoring, "PIXELS", pixels)
        assert [len(piece) for piece in scoring.recal_pieces(batches)] == pieces
        digests.add(evaluator.evaluate(weights, protocol)[0].stats_digest)
    assert len(digests) == 1


def test_pieces_of_equal_batches_are_of_one_size_where_they_can_be(monkeypatch):
    from harness.evaluation import scoring

    monkeypatch.setattr(scoring, "PIXELS", 5 * 3 * 16 * 32)
    for count, pieces in ((5, [5]), (6, [3, 3]), (7, [4, 3]), (8, [4, 4]), (11, [4, 4, 3])):
        batches = tuple(batch(70 + i, 3) for i in range(count))
        found = scoring.recal_pieces(batches)
        assert [len(piece) for piece in found] == pieces
        assert list(itertools.chain(*found)) == list(range(count))


@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 1, 1, 2)])
@pytest.mark.slow
def test_statistics_keep_their_bits_where_channels_do_not_fill_a_vector(
    tensorflow, monkeypatch, sizes
):
    from harness.evaluation import scoring
    from harness.evaluation.evaluator import Evaluator, Protocol
    from harness.training.model import Supernet

    weights, evaluator = Supernet("full", 12, 7).weight_tensors(), Evaluator("full", 12)
    batches = tuple(batch(50 + i, n) for i, n in enumerate(sizes))
    protocol = Protocol(((0, 1, 0, 0, 1, 2, 0, 1, 2),), batches[:1], batches, 1)
    digests = set()
    for pixels in (1, 1 << 18):
        monkeypatch.setattr(scoring, "PIXELS", pixels)
        digests.add(evaluator.evaluate(weights, protocol)[0].stats_digest)
    assert len(digests) == 1


def test_statistics_are_those_of_the_batches_gathered_last(setting):
    evaluator, weights, protocol = setting("full")
    shared, arch = evaluator.share(weights, protocol.pool[:2]), protocol.pool[0]
    first, second = (batch(60, 2),), (batch(61, 2), batch(62, 2))
    with pytest.raises(KeyboardInterrupt):
        shared.gather(second, interrupted)
    for batches in (first, second):
        shared.gather(batches, lambda: None)
        found = evaluator.recalibrate(shared, arch, batches)
        alone = evaluator.recalibrate(weights, arch, batches)
        assert all(np.array_equal(found[unit], pair) for unit, pair in alone.items())


def interrupted() -> None:
    raise KeyboardInterrupt


def test_a_score_that_is_no_number_names_its_arch_and_is_not_kept(setting, tmp_path):
    from harness.evaluation.evaluator import NonFiniteScoreError
    from harness.evaluation.journal import FileJournal

    evaluator, weights, protocol = setting("full")
    bad = {**weights, "H2Out/k3/kernel": weights["H2Out/k3/kernel"] * np.float32("nan")}
    message = "arch 111111112: EPE is nan, expected a finite number"
    with (
        FileJournal(tmp_path / "s", {"of": 1}) as journal,
        pytest.raises(NonFiniteScoreError, match=message),
    ):
        evaluator.evaluate(bad, protocol, journal=journal)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 9))
def test_pieces_hold_every_sample_once_in_order(sizes, step):
    from harness.evaluation.scoring import score_pieces

    batches = [batch(seed, size) for seed, size in enumerate(sizes)]
    pieces = list(score_pieces(batches, step))
    assert all(piece.size == step for piece in pieces[:-1])
    assert pieces[-1].size <= step
    for name in ("ids", "frames", "flow", "valid"):
        whole, again = (
            np.concatenate([getattr(b, name) for b in found]) for found in (batches, pieces)
        )
        assert np.array_equal(whole, again)


def test_every_value_is_freed_after_its_last_use(setting):
    evaluator, weights, protocol = setting("full")
    shared = evaluator.share(weights, protocol.pool)
    shared.gather(protocol.recal_batches, lambda: None)
    (scored,) = protocol.eval_batches[:1]
    for arch in shared.archs:
        stats = evaluator.recalibrate(shared, arch, protocol.recal_batches)
        evaluator.predict(shared, arch, stats, scored)
    walk = shared.walk(scored)
    assert (walk._values, walk._planes) == ({}, {})


def test_calls_out_of_order_and_again_are_right(setting):
    evaluator, weights, protocol = setting("full")
    shared = evaluator.share(weights, protocol.pool[:4])
    shared.gather(protocol.recal_batches, lambda: None)
    scored = protocol.eval_batches[0]
    for arch in (*reversed(protocol.pool[:4]), *protocol.pool[:2]):
        stats = evaluator.recalibrate(shared, arch, protocol.recal_batches)
        alone = evaluator.recalibrate(weights, arch, protocol.recal_batches)
        expected = evaluator.predict(weights, arch, alone, scored)
        assert np.array_equal(evaluator.predict(shared, arch, stats, scored), expected)


@pytest.mark.slow
def test_another_accumulation_is_applied_to_whole_outputs(setting):
    _, weights, protocol = setting("full")
    from harness.evaluation.evaluator import EvalParts, Evaluator

    evaluator = Evaluator("full", WIDTH, EvalParts(accumulate_flow=lambda o: o[-1][..., 2:]))
    stats = evaluator.recalibrate(weights, protocol.pool[0], protocol.recal_batches)
    flow = evaluator.predict(weights, protocol.pool[0], stats, protocol.eval_batches[0])
    outputs = evaluator.outputs(weights, protocol.pool[0], stats, protocol.eval_batches[0].frames)
    assert np.array_equal(flow, outputs[-1][..., 2:])


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_from_what_is_on_disk(setting, tmp_path, monkeypatch):
    from harness.evaluation import scoring
    from harness.evaluation.journal import FileJournal

    evaluator, weights, protocol = setting("full")
    monkeypatch.setattr(scoring, "score_split", lambda *_: 3)
    protocol = replace(protocol, recal_batches=(batch(5, 2), batch(6, 2)))
    assert scoring.recal_pieces(protocol.recal_batches) == [[0, 1]]
    straight, path, header = evaluator.evaluate(weights, protocol)[1], tmp_path / "s", {"of": 1}
    with FileJournal(path, header) as journal:
        assert evaluator.evaluate(weights, protocol, journal=journal)[1] == straight
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + (2 + 2) * len(evaluator.share(weights, protocol.pool).subtrees)
    for kept in (1, 4, 5, len(lines) - 7, len(lines) - 1):
        path.write_bytes(b"".join(lines[:kept]) + lines[kept][:-3])
        with FileJournal(path, header) as journal:
            assert len(journal) == kept - 1
            assert evaluator.evaluate(weights, protocol, journal=journal)[1] == straight
        found = path.read_bytes().splitlines(keepends=True)
        assert (len(found), found[:kept]) == (len(lines), lines[:kept])
    predicted = []
    evaluator.predict = lambda *args: predicted.append(args)
    with FileJournal(path, header) as journal:
        assert evaluator.evaluate(weights, protocol, journal=journal)[1] == straight
    assert predicted == []


def test_scores_of_another_evaluation_are_refused(tmp_path):
    from harness.evaluation.journal import FileJournal

    path = tmp_path / "space.scores.jsonl"
    with (
        FileJournal(path, {"eval_batch_hash": "a"}),
        pytest.raises(InputError, match="another process evaluates into it"),
    ):
        FileJournal(path, {"eval_batch_hash": "a"})
    with pytest.raises(InputError, match="eval_batch_hash: found a, expected b; move it away"):
        FileJournal(path, {"eval_batch_hash": "b"})
    (line,) = path.read_text().splitlines()
    assert json.loads(line).keys() == {"eval_batch_hash", "chain"}
    for text, message in (
        ("a file of somebody else", "holds something else; move it away"),
        ('{"eval_batch_hash":"b"}\n{}\n', "line 2: no record: piece: no phase, batch, subtree, v"),
        ('{"eval_batch_hash":"a"}\n{"torn', "found a, expected b; move it away"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            FileJournal(path, {"eval_batch_hash": "b"})
        assert path.read_text() == text
    path.write_text('{"eval_ba')
    FileJournal(path, {"eval_batch_hash": "b"}).__exit__()
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["eval_batch_hash"] == "b"


@pytest.mark.parametrize(
    ("skeleton", "scored_on"),
    [
        ("full", "host"),
        pytest.param("full", "device", marks=pytest.mark.slow),
        pytest.param("decoupled", "host", marks=pytest.mark.slow),
        ("decoupled", "device"),
    ],
)
def test_as_many_calls_are_made_as_were_foretold(setting, monkeypatch, skeleton, scored_on):
    from harness.supernet.sharing.calls import pool_calls
    from harness.supernet.sharing.layers import Layers

    evaluator, weights, protocol = setting(skeleton)
    evaluator.scored_on, made, run = scored_on, [], Layers.run
    monkeypatch.setattr(Layers, "run", lambda *args: made.append(args[4] is not None) or run(*args))
    evaluator.evaluate(weights, protocol)
    foretold = pool_calls(plan_of(skeleton), protocol.pool)
    assert (made.count(False), made.count(True)) == (len(SIZES) * foretold.recal, foretold.score)
