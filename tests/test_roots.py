"""Causes come before consequences, and no broken promise is lost between them."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.promises import draws
from harness.promises.judge import Judgement, judge_evidence
from harness.promises.promise import Outcome, Promise
from harness.promises.registry import AREA_OF, PROMISES
from harness.promises.roots import AREAS, find_roots
from harness.systems.protocol import Training
from tests.promise_evidence_data import CENTRE
from tests.promise_evidence_steps import STEP

NAMES = tuple("abcdefgh")


def judged(name, verdict="BROKEN", *, by=(), blocked=(), kinds=(), error=None):
    promise = Promise(
        name, name, lambda _: Outcome((), ""), "", explained_by=by, blocked_by=blocked
    )
    return Judgement(promise, verdict, f"text of {error or name}", kinds=kinds, error=error)


def shown(*judgements, areas=None):
    """Return each root with what is folded below it."""
    found = find_roots(judgements, areas or dict.fromkeys(NAMES, AREAS[0]))
    return {
        root.judgement.promise.id: [j.promise.id for j in (*root.consequences, *root.blocked)]
        for root in found
    }


def test_a_consequence_is_folded_below_its_cause_and_so_is_what_follows_from_it():
    assert shown(judged("c", by=("b",)), judged("b", by=("a",)), judged("a")) == {"a": ["c", "b"]}


def test_nothing_is_folded_below_a_promise_that_holds():
    assert shown(judged("b", by=("a",)), judged("a", "holds")) == {"b": []}
    assert shown(judged("b", by=("a",)), judged("a", "n/a")) == {"b": []}
    # Nor by way of one: that c breaks cannot come from a, if b between them holds.
    chain = judged("c", by=("b",)), judged("b", "holds", by=("a",)), judged("a")
    assert shown(*chain) == {"c": [], "a": []}


def test_a_cause_explains_breaches_of_its_own_kinds_alone():
    crop = judged("a", kinds=("window",))
    assert shown(judged("b", by=("a",), kinds=("window",)), crop) == {"a": ["b"]}
    assert shown(judged("b", by=("a",), kinds=("order", "window")), crop) == {"b": [], "a": []}
    assert shown(judged("b", by=("a",), kinds=("order",)), judged("a")) == {"a": ["b"]}
    both = judged("c", kinds=("order",)), judged("b", by=("a", "c"), kinds=("order", "window"))
    assert shown(crop, *both) == {"a": ["b"], "c": []}
    # Of another kind, it has no part in it.
    other = judged("c", kinds=("label",))
    assert shown(other, crop, judged("b", by=("a", "c"), kinds=("window",))) == {
        "c": [],
        "a": ["b"],
    }


def test_a_breach_can_be_explained_by_one_kind_of_another_alone():
    by_pixels = judged("b", by=("a:pixels",))
    assert shown(by_pixels, judged("a", kinds=("order", "pixels"))) == {"a": ["b"]}
    assert shown(by_pixels, judged("a", kinds=("order",))) == {"b": [], "a": []}
    assert shown(by_pixels, judged("a")) == {"b": [], "a": []}
    other = judged("b", by=("a:pixels",), kinds=("mask",))
    assert shown(other, judged("a", kinds=("pixels",))) == {"a": ["b"]}


def test_the_measurement_comes_first_and_then_what_is_declared_first():
    areas = dict(zip("adcb", (AREAS[4], AREAS[0], AREAS[0], AREAS[1]), strict=True))
    everything = [judged(name) for name in "abcd"]
    assert list(shown(*everything, areas=areas)) == ["d", "c", "b", "a"]


def test_what_noise_makes_undecidable_is_blocked():
    found = find_roots([judged("b", blocked=("a",)), judged("a")], {"a": AREAS[0], "b": AREAS[0]})
    assert [[j.promise.id for j in root.blocked] for root in found] == [["b"]]
    assert [root.consequences for root in found] == [()]


def test_one_failure_that_many_promises_met_is_one_root():
    error = RuntimeError("crash")
    many = [judged(name, "error", error=error, by=("a",)) for name in NAMES[::-1]]
    assert shown(*many) == {"h": list("gfedcba")}


@given(
    st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES)), min_size=1),
    st.sets(st.sampled_from(NAMES)),
)
def test_every_broken_promise_is_shown_once_whatever_explains_what(explained, holding):
    everything = [
        judged(name, "holds" if name in holding else "BROKEN", by=tuple(sorted(by)))
        for name, by in explained.items()
    ]
    found = shown(*everything)
    places = [name for root, below in found.items() for name in (root, *below)]
    assert sorted(places) == sorted(set(explained) - holding)


def test_each_promise_says_what_its_breach_makes_void():
    assert AREA_OF.keys() == PROMISES.keys()


def test_what_explains_a_promise_exists_and_explanations_do_not_go_in_a_ring():
    def above(name, path=()):
        assert name in PROMISES, f"{path[-1]} is explained by {name}, which is no promise"
        assert name not in path, f"a ring: {path}"
        promise = PROMISES[name]
        for cause in (*promise.explained_by, *promise.blocked_by):
            above(cause.partition(":")[0], (*path, name))

    for promise in PROMISES:
        above(promise)


def test_labels_without_a_mask_explain_no_wrong_loss():
    label = CENTRE["unknown flow served as a label"][0]
    cause = judge_evidence(PROMISES["unknown-flow-masked"], lambda: label)
    odd = replace(STEP, flow_clip=0.5)  # labels as they were not declared
    both = replace(odd, losses=tuple(2 * loss for loss in odd.losses))
    for evidence, roots in (
        (odd, {"unknown-flow-masked"}),
        (both, {"unknown-flow-masked", "loss-recomputed"}),
    ):
        effect = judge_evidence(PROMISES["loss-recomputed"], lambda evidence=evidence: evidence)
        found = find_roots([cause, effect], AREA_OF)
        assert {root.judgement.promise.id for root in found} == roots, effect.violations


def real(name, *kinds):
    return Judgement(PROMISES[name], "BROKEN", name, kinds=kinds)


def test_draws_that_are_others_without_a_resume_are_a_root_beside_what_a_resume_loses():
    lost = real("resume-exact", "draws", "counters and generators")
    areas = {name: AREA_OF[name] for name in PROMISES}
    assert shown(real("drawn-as-served", "draws"), lost, areas=areas) == {
        "resume-exact": ["drawn-as-served"]
    }
    alone = {"resume-exact": [], "drawn-as-served": []}
    assert shown(real("drawn-as-served", "never resumed"), lost, areas=areas) == alone
    # Nor does a last batch that is filled say of whom the others are.
    filled = real("train-draws-declared", "filled")
    found = shown(real("drawn-as-served", "never resumed"), filled, areas=areas)
    assert found == {"train-draws-declared": [], "drawn-as-served": []}


@pytest.mark.parametrize(
    ("straight", "kind"), [(("a", "b"), "draws"), (("a", "c"), "never resumed")]
)
def test_whether_a_resume_is_why_is_asked_of_a_run_at_a_stretch(straight, kind):
    def batches(*digests):
        return [SimpleNamespace(digest=digest) for digest in digests]

    class Bench:
        trained = SimpleNamespace(
            first=Training(steps=(step("a"),)), second=Training(steps=(step("b"),))
        )

        def evidence(self, _):
            return batches("a", "c")

        @contextmanager
        def at(self, _):
            yield SimpleNamespace(
                train=lambda *_, **__: Training(steps=(step("a"), step("b"))),
                batches=lambda _, epoch: batches(straight[epoch - 1]),
            )

    (violation,) = draws.same_training(draws.drawn(Bench())).violations
    assert violation.kind == kind


def step(batch):
    return SimpleNamespace(batch=batch)
