"""Evidence about alterations: other places, seeds and pools, and input to be refused."""

from dataclasses import replace

from harness.promises import cache, elsewhere, ranking, refusals
from harness.promises.cache import Cached
from harness.promises.elsewhere import Elsewhere, Seeds
from harness.promises.ranking import Pools
from harness.promises.refusals import Refusals
from tests.promise_evidence_scores import ARCHS, BASE, nudged, only
from tests.promise_evidence_training import CYCLES

# ---- another place, another seed

WEIGHTS = {"trunk/kernel": "1a", "trunk/moving_mean": "2b", "adam/m/trunk/kernel": "3c"}
DRAWS = ("d1", "d2", "d3")
PLACE = Elsewhere(WEIGHTS, dict(WEIGHTS), BASE, BASE, DRAWS, list(DRAWS))
MOVED_AWAY = {
    "a weight": (
        replace(PLACE, there=WEIGHTS | {"trunk/kernel": "9f"}),
        "trained elsewhere: trunk/kernel: expected 1a, found 9f",
    ),
    "an array too few": (
        replace(PLACE, there={"trunk/kernel": "1a"}),
        "trained elsewhere: adam/m/trunk/kernel: expected 3c, found absent",
    ),
    "batches in another order": (
        replace(PLACE, draws_there=("d2", "d1", "d3")),
        "training batches elsewhere: expected the same, found others",
    ),
    "a score": (
        replace(PLACE, scores_there=nudged(BASE, ARCHS[1])),
        r"trained elsewhere, arch 111111111, sample 3: expected 1\.\d+ px, found 1\.\d+ px",
    ),
    "a digest": (
        replace(PLACE, scores_there=replace(BASE, eval_batch_hash="e9")),
        "trained elsewhere, eval_batch_hash: expected e1, found e9",
    ),
    "half of the pool": (
        replace(PLACE, scores_there=only(BASE, ARCHS[:1])),
        r"archs scored trained elsewhere: expected \('000000000', .*, found \('000000000',\)",
    ),
}
OTHER = {"trunk/kernel": "5e", "head/kernel": "6f", "head/bias": "0"}
ONE = {"trunk/kernel": "1a", "head/kernel": "2b", "head/bias": "0"}
TEN = tuple("abcdefghij")
SEEDS = Seeds(
    ONE, dict(ONE), OTHER, ("trunk/kernel", "head/kernel"), tuple(CYCLES[:2]), tuple(CYCLES[2:])
)
SOWN = {
    "another start each time": (
        replace(SEEDS, again=ONE | {"trunk/kernel": "7a"}),
        "opened again: trunk/kernel: expected 1a, found 7a",
    ),
    "a kernel that no seed reaches": (
        replace(SEEDS, other=OTHER | {"head/kernel": "2b"}),
        "head/kernel with another seed: expected another initial value, found the same",
    ),
    "fair cycles that no seed reaches": (
        replace(SEEDS, other_cycles=SEEDS.cycles),
        "fair cycles with another seed: expected others, found the same",
    ),
    "one fair cycle that no seed reaches": (
        replace(SEEDS, cycles=CYCLES[:1], other_cycles=CYCLES[:1]),
        "fair cycles with another seed: expected others, found the same",
    ),
    "a step too few": (
        replace(SEEDS, other_cycles=CYCLES[3:]),
        "fair cycles with another seed: expected 2, found 1",
    ),
    "samples in one order": (
        replace(SEEDS, orders=(TEN, TEN[::-1], TEN)),
        "order of the samples with another seed: expected another, found the same, sample by",
    ),
    "a shuffle that is seeded anew in each epoch": (
        replace(SEEDS, orders=(TEN, TEN, TEN[::-1])),
        "order of the samples in epoch 2: expected another, found the same, sample by sample",
    ),
    "a kernel missing": (
        replace(SEEDS, other={"trunk/kernel": "5e"}),
        "head/kernel with another seed: expected another initial value, found absent",
    ),
}
DECLARED = ("000000000", "111111111", "222222222", "012012012", "210210210", "120120120")
DRAWN = ("011220012", "201010122", "222100101")
DRAWN_ELSE = ("100112202", "021021001", "211002120")
POOL, OTHER_POOL = (*DECLARED, *DRAWN), (*DECLARED, *DRAWN_ELSE)
POOLS = Pools(POOL, POOL, OTHER_POOL)
ASKED = {
    "drawn archs that no seed reaches": (
        replace(POOLS, other=POOL),
        r"drawn archs with another seed: expected not \['011220012', .*, found \['011220012', ",
    ),
    "drawn anew each time": (
        replace(POOLS, again=OTHER_POOL),
        r"pool asked for again, the first that differs: expected 011220012, found \d{9}$",
    ),
    "a declared arch left out": (
        replace(POOLS, one=POOL[1:], again=POOL[1:]),
        "arch 0 of the pool: expected 000000000, found 111111111",
    ),
    "one arch twice": (
        replace(POOLS, other=(*OTHER_POOL[:8], OTHER_POOL[7])),
        "archs of the pool with another seed: expected 9 distinct, found 9, 8 of them distinct",
    ),
    "codes from right to left": (
        replace(POOLS, one=tuple(a[::-1] for a in POOL), again=tuple(a[::-1] for a in POOL)),
        "arch 3 of the pool: expected 012012012, found 210210210",
    ),
}

# ---- a cache

CACHED = Cached(
    ("a1", "b2"), ("a1", "b2"), ("c3", "b2"), ("c3", "b2"),
    {"another crop": (("e5", "f6"), ("e5", "f6")), "another clip": (("g7", "b2"), ("g7", "b2"))},
)  # fmt: skip
LISTED = replace(CACHED, added="1000007", listed=(("1000006", "1000007"),) * 2)
SERVED_STALE = {
    "a list of samples that is kept": (
        replace(LISTED, listed=(("1000006", "1000007"), ("1000006",))),
        "samples served once 1000007 was added to the split without a cache folder: expected it "
        "among them, found those that were there before: the list of samples is kept",
    ),
    "the configured crop under another": (
        replace(CACHED, others={"another crop": (("a1", "b2"), ("e5", "f6"))}),
        "eval batch 0 served from the cache under another crop: expected e5, found a1: what was "
        "kept under the configured one",
    ),
    "the configured clip in one batch": (
        replace(CACHED, others={"another clip": (("g7", "b2"), ("g7", "h8"))}),
        "eval batch 1 served from the cache under another clip: expected h8, found b2: what was ",
    ),
    "the content of before": (
        replace(CACHED, changed=CACHED.first),
        "eval batch 0 served from the cache after a change: expected c3, found a1",
    ),
    "another batch when asked again": (
        replace(CACHED, again=("b2", "a1")),
        "eval batch 1 served again from the cache: expected b2, found a1",
    ),
    "a batch too few": (
        replace(CACHED, changed=("c3",)),
        "eval batch 1 served from the cache after a change: expected b2, found no batch",
    ),
}

# ---- refusals of bad files, of checkpoints, of a NaN

FILES = Refusals(
    [
        ("flow cut short", ("b2-flow_01.flo",), "FlowFileError", "b2-flow_01.flo holds 99 bytes"),
        ("image cut short", ("b2-img_1.png",), "ImageError", "cannot decode /x/b2-img_1.png"),
    ]
)
CHECKPOINTS = Refusals(
    [
        ("a checkpoint, one byte flipped", ("one-byte",), "CheckpointError", "/x/one-byte: digest"),
        ("no checkpoint", ("/x/none",), "CheckpointError", "/x/none: expected a checkpoint"),
    ]
)
SCORE = Refusals([("a NaN in w", ("000000000", "w"), "NonFiniteError", "EPE of arch 000000000")])
ACCEPTED = {
    "a bad file is skipped": (
        Refusals([*FILES.cases, ("flow too long", ("b3.flo",), None, "it went on")]),
        "flow too long: expected an error that names b3.flo, found it went on",
    ),
    "a bad file is not named": (
        Refusals([FILES.cases[1], ("flow with NaN", ("b3.flo",), "ValueError", "NaN in a flow")]),
        "the message on flow with NaN: expected the name b3.flo, found ValueError: NaN in a flow",
    ),
    "another file is named": (
        Refusals([("flow with NaN", ("b3.flo",), "ValueError", "NaN in b2.flo")]),
        "the message on flow with NaN: expected the name b3.flo, found ValueError: NaN in b2.flo",
    ),
    "an older checkpoint is restored": (
        Refusals([CHECKPOINTS.cases[0], ("no checkpoint", ("/x/none",), None, "it went on")]),
        "no checkpoint: expected an error that names /x/none, found it went on",
    ),
    "a damaged checkpoint is not named": (
        Refusals([("a checkpoint, cut short", ("cut-short",), "DataLossError", "bad block")]),
        "the message on a checkpoint, cut short: expected the name cut-short, found DataLossError",
    ),
    "a NaN is scored": (
        Refusals([("a NaN in w", ("000000000", "w"), None, "it went on")]),
        "a NaN in w: expected an error that names w, found it went on",
    ),
    "a NaN is not named": (
        Refusals([("a NaN in w", ("000000000", "w"), "ValueError", "NaN")]),
        "the message on a NaN in w: expected the name w, found ValueError: NaN",
    ),
}

NO_SCORES = only(BASE, ())
CLEAN = {
    elsewhere.place_does_not_matter: [PLACE],
    elsewhere.seeds_matter: [
        SEEDS,
        replace(SEEDS, orders=(TEN, TEN[::-1], TEN[1:] + TEN[:1])),
        replace(SEEDS, orders=(TEN[:3],) * 3),  # chance may repeat an order of so few
        replace(SEEDS, orders=(TEN[:1] * 12,) * 3),  # copies of one
    ],
    ranking.pool_is_declared: [POOLS],
    refusals.bad_input_is_refused: [FILES, CHECKPOINTS, SCORE],
    cache.cache_is_never_stale: [CACHED, LISTED],
}
EMPTY = {
    elsewhere.place_does_not_matter: Elsewhere({}, {}, NO_SCORES, NO_SCORES, (), ()),
    elsewhere.seeds_matter: Seeds({}, {}, {}, (), (), ()),
    ranking.pool_is_declared: Pools((), (), ()),
    refusals.bad_input_is_refused: Refusals([]),
    cache.cache_is_never_stale: Cached((), (), (), ()),
}
CORRUPTED = {
    elsewhere.place_does_not_matter: MOVED_AWAY,
    elsewhere.seeds_matter: SOWN,
    ranking.pool_is_declared: ASKED,
    refusals.bad_input_is_refused: ACCEPTED,
    cache.cache_is_never_stale: SERVED_STALE,
}
NOTHING_TO_TELL = {
    cache.cache_is_never_stale: {
        "a change that reaches no pixel": (
            Cached(*[CACHED.first] * 4),
            "eval batches of changed files: expected another content, found the same",
        ),
    },
    elsewhere.place_does_not_matter: {
        "no array": (replace(PLACE, here={}, there={}), "something to compare, found nothing: no "),
        "no batch": (
            replace(PLACE, draws_here=(), draws_there=()),
            "something to compare, found nothing: no ",
        ),
        "no score": (
            replace(PLACE, scores_here=NO_SCORES, scores_there=NO_SCORES),
            "something to compare, found nothing: no ",
        ),
        "no score elsewhere": (
            replace(PLACE, scores_there=NO_SCORES),
            r"archs scored trained elsewhere: expected \('000000000', .*, found \(\)",
        ),
    },
    elsewhere.seeds_matter: {
        "no kernel": (replace(SEEDS, kernels=()), "something to compare, found nothing: no "),
        "no cycle": (
            replace(SEEDS, cycles=(), other_cycles=()),
            "something to compare, found nothing: no ",
        ),
        "no cycle of the other seed": (
            replace(SEEDS, other_cycles=()),
            "fair cycles with another seed: expected 2, found 0",
        ),
        "no state of the other seed": (
            replace(SEEDS, other={}),
            "trunk/kernel with another seed: expected another initial value, found absent",
        ),
        "one seed alone": (
            replace(SEEDS, other=ONE, other_cycles=SEEDS.cycles),
            "trunk/kernel with another seed: expected another initial value, found the same",
        ),
    },
    ranking.pool_is_declared: {
        "one pool alone": (
            Pools(POOL, POOL, POOL),
            "drawn archs with another seed: expected not .*, found ",
        ),
        "nothing drawn": (
            Pools(DECLARED, DECLARED, DECLARED),
            "archs of the pool: expected 9 distinct, found 6, 6 of them distinct",
        ),
        "no pool of the other seed": (
            replace(POOLS, other=()),
            "archs of the pool with another seed: expected 9 distinct, found 0, 0 of them",
        ),
    },
    refusals.bad_input_is_refused: {
        "no name to look for": (
            Refusals([("flow with NaN", (), "ValueError", "NaN")]),
            r"flow with NaN: expected a name to look for in the message, found \(\)",
        ),
        "a name that is in every message": (
            Refusals([("flow with NaN", ("b3.flo", ""), "ValueError", "NaN")]),
            r"flow with NaN: expected a name to look for in the message, found \('b3.flo', ''\)",
        ),
    },
}
