"""Shards of an evaluation: each subtree in one of them, merged as one process would write them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.evaluation.entry_costs import entry_macs
from harness.evaluation.journal import FileJournal
from harness.evaluation.shards import (
    MOST_SHARDS,
    Shard,
    merge,
    shard_entries,
    shard_header,
    shard_path,
)
from harness.supernet.macs import pool_macs
from harness.supernet.sharing.order import subtrees, walk_order
from harness.supernet.sharing.plan import plan_of
from harness.supernet.space import SKELETONS

EVERY = list(product(range(3), repeat=9))
HEADER = {"scores": 2, "environment": {}}
PIECES = [[0, 1], [2]]
SAMPLES = [3, 1]


@pytest.fixture(scope="module")
def trees():
    return subtrees(plan_of("full"), walk_order(EVERY))


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_there_are_as_many_shards_as_subtrees_at_most(skeleton):
    assert len(subtrees(plan_of(skeleton), walk_order(EVERY))) == MOST_SHARDS


@given(count=st.integers(1, MOST_SHARDS), number=st.integers(1, 200))
def test_every_subtree_is_in_one_shard_and_they_are_of_one_size(count, number):
    given_trees = list(range(number))
    parts = [Shard(index, count).of(given_trees) for index in range(1, count + 1)]
    assert [tree for part in parts for tree in part] == given_trees
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def needed(tree, batch):
    """Return statistics by key in the order that a walk meets them; those of a trunk are shared."""
    names = [tree.name[:length] for length in range(1, len(tree.name) + 1)]
    keys = [(f"unit{len(name)}", tuple(map(int, name))) for name in names]
    return {key: ((np.float32([batch, *key[1]]), np.float32([1])),) for key in keys}


def write(journal, trees, *, anew=()):
    """Write what an evaluation of these writes; from each of `anew` on by a process of its own."""
    for entry in shard_entries(trees, PIECES, len(SAMPLES)):
        phase, batch, name = entry
        tree = next(tree for tree in trees if tree.name == name)
        if phase == "score":
            journal[entry] = {arch: [0.5 + batch] * SAMPLES[batch] for arch in tree.archs[:2]}
            continue
        earlier = trees[: trees.index(tree)]
        starts = [trees.index(one) for one in anew if trees.index(one) <= len(earlier)]
        start = max(starts, default=0)
        known = {key for one in earlier[start:] for key in needed(one, batch)}
        journal[entry] = {k: v for k, v in needed(tree, batch).items() if k not in known}


@pytest.mark.parametrize(
    "skeleton", [pytest.param(n, marks=[pytest.mark.slow] * (n != "full")) for n in SKELETONS]
)
def test_what_is_left_is_told_by_the_work_of_each_piece(skeleton):
    recal, scored, size = [8, 8, 1], [6, 6, 5], (176, 240)
    macs = entry_macs(
        skeleton, 8, size, EVERY, subtrees=MOST_SHARDS, recal=recal, scored=scored
    )  # fmt: skip
    every = subtrees(plan_of(skeleton), walk_order(EVERY))
    entries = shard_entries(every, [[0, 1], [2]], len(scored))
    due = pool_macs(
        skeleton, 8, size, EVERY, recal_samples=sum(recal), eval_samples=sum(scored)
    ).shared
    assert sum(map(macs, entries)) == pytest.approx(due / 1e6, rel=1e-3)
    # As much is done by the recalibration as it is, not as it has pieces.
    done = sum(macs(entry) for entry in entries if entry[0] == "recal")
    body = pool_macs(skeleton, 8, size, EVERY, recal_samples=sum(recal), eval_samples=0).shared
    assert done == pytest.approx(body / 1e6, rel=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_merged_shards_are_the_bytes_of_one_process(trees, count, tmp_path):
    trees, one, whole = trees[:10], tmp_path / "one", tmp_path / "x.scores.jsonl"
    with FileJournal(one, HEADER, samples=SAMPLES) as journal:
        write(journal, trees)
    shards = [Shard(index, count) for index in range(1, count + 1)]
    for shard in shards:
        part = shard.of(trees)
        with FileJournal(shard_path(whole, shard), shard_header(HEADER, shard)) as journal:
            write(journal, part, anew=part[len(part) // 2 :])  # it was killed there
    assert len(list(tmp_path.glob("x.*-of-*.scores.jsonl"))) == count
    parts = [FileJournal(shard_path(whole, s), shard_header(HEADER, s)) for s in shards]
    with FileJournal(whole, HEADER) as journal:
        merge(parts, shard_entries(trees, PIECES, len(SAMPLES)), journal)
    for part in parts:
        part.__exit__()
    assert whole.read_bytes() == one.read_bytes()


def test_shards_of_machines_that_compute_differently_are_not_merged(trees):
    two = [{}, {}]
    for journal, part in zip(two, (trees[:2], trees[2:4]), strict=True):
        write(journal, list(part))
    entry = "recal", 1, trees[2].name
    key = next(iter(two[1][entry]))
    two[1][entry][key] = ((np.float32([7]), np.float32([1])),)
    with pytest.raises(InputError, match=rf"batch 1, subtree {trees[2].name}: .* unit1 differ"):
        merge(two, shard_entries(trees[:4], PIECES, len(SAMPLES)), {})


def test_a_piece_that_no_shard_holds_is_named(trees):
    journal = {}
    write(journal, list(trees[:2]))
    del journal["score", 1, trees[1].name]
    with pytest.raises(InputError, match="none of 1 holds scores of batch 1, subtree"):
        merge([journal], shard_entries(trees[:2], PIECES, len(SAMPLES)), {})


def test_the_file_of_one_shard_is_not_taken_for_that_of_another(tmp_path):
    path = tmp_path / "x.scores.jsonl"
    FileJournal(path, shard_header(HEADER, Shard(1, 2))).__exit__()
    with pytest.raises(InputError, match="holds another evaluation, shard: found 1/2, expected"):
        FileJournal(path, shard_header(HEADER, Shard(1, 3)))


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1/82", "1", "1/2/3", "1 /2", "²/2", "1e0/2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="expected I/N with 1 <= I <= N <= 81, such as 2/7, got"):
        Shard.parse(text)
    assert str(Shard.parse("2/7")) == "2/7"
