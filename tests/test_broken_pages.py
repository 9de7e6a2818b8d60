"""A page of a broken promise shows what was expected beside what was found."""

import base64
import io
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from harness.errors import InputError
from harness.fc2.crop import Window, random_window
from harness.gate_pictures import hint, keep_page, remove_pages
from harness.gate_state import Asked
from harness.promises.augmented_labels import AugmentedSamples
from harness.promises.independent_epe import accumulate_residuals
from harness.promises.judge import Judgement, judge_evidence
from harness.promises.known_answers import Oracle
from harness.promises.known_scenes import known_scene
from harness.promises.promise import Violation
from harness.promises.recomputed import Recomputation
from harness.promises.registry import PROMISES
from harness.promises.shown import (
    MOST_ROWS,
    Flows,
    Frames,
    Masks,
    Row,
    Values,
    Windows,
    orders_beside,
    values_beside,
)
from harness.promises.warping import taken_back
from harness.reporting.broken import broken_page, is_page
from harness.reporting.flow_colours import flow_image, mask_image
from harness.systems.protocol import TrainingSample
from tests import promise_evidence_consumed as consumed
from tests import promise_evidence_data as data
from tests import promise_evidence_offline as offline
from tests import promise_evidence_scores as scores
from tests.promise_evidence_scores import BASE, REPEAT, RESPONSE, nudged

FACTS = {"system": "a <system>", "commit": "0123"}


def judged(name, evidence):
    return judge_evidence(PROMISES[name], lambda: evidence)


def page_of(name, evidence):
    found = judged(name, evidence)
    assert found.verdict == "BROKEN", found
    return broken_page(found, facts=FACTS, version="0")


def pictures(page):
    """Return the pictures of a page by what is said of them, in order."""
    every = re.findall(r'<img alt="([^"]+)" src="data:image/png;base64,([^"]+)"', page)
    return [(alt, np.asarray(Image.open(io.BytesIO(base64.b64decode(d))))) for alt, d in every]


def called(page, name):
    return [image for alt, image in pictures(page) if alt.startswith(f"{name},")]


def rows(page):
    """Return the cells of each row of its tables, and whether it is marked."""
    lines = re.findall(r"<tr( class=\"wrong\")?>(<td>.*?)</tr>", page)
    return [(re.findall(r"<td[^>]*>(.*?)</td>", cells), bool(wrong)) for wrong, cells in lines]


# ---- each kind, with a fault planted in the evidence


def test_a_crop_that_is_off_by_one_shows_both_windows_and_what_each_cuts_out():
    off = replace(data.SERVED, batches=data.serve_all(range(5), [(1, 2)] * 4 + [(2, 2)], "eval"))
    page = page_of("eval-crop-centred", off)
    whole = data.DECODED["c/4"][0][..., 2::-1]
    assert np.array_equal(called(page, "whole frame")[0], whole)
    assert np.array_equal(called(page, "expected")[0], whole[1:5, 2:8])
    assert np.array_equal(called(page, "found")[0], whole[2:6, 2:8])
    key = "expected: row 1, column 2, 4x6 px</li>", "found: row 2, column 2, 4x6 px</li>"
    assert all(text in page for text in key)
    assert 'class="one" style="top: 14.2857%; bottom: 28.5714%; left: 20.0000%' in page
    assert 'class="other" style="top: 28.5714%; bottom: 14.2857%; left: 20.0000%' in page
    assert "c/4" in page


def test_pixels_of_another_window_are_found_where_they_lie():
    """The window that is told is right, and what was served is cut out elsewhere."""
    frames = data.serve(data.IDS[:2], [(2, 1)] * 2, "").frames
    moved = replace(data.SERVED, batches=data.first(data.EVALUATED, frames=frames))
    page = page_of("eval-crop-centred", moved)
    assert "found: row 2, column 1, 4x6 px</li>" in page
    expected, found = called(page, "expected")[0], called(page, "found")[0]
    cut = data.DECODED["a/0"][0][1:5, 2:8, 2::-1]
    assert np.array_equal(expected, cut)
    assert np.array_equal(found, frames[0, ..., 2::-1])


def test_wrong_flow_and_a_wrong_mask_are_drawn_in_the_colours_of_flow():
    swapped = data.first(data.EVALUATED, flow=data.EVALUATED[0].flow[..., ::-1])
    page = page_of("eval-crop-centred", replace(data.SERVED, batches=swapped))
    one = data.EVALUATED[0]
    scale = float(np.hypot(*np.moveaxis(one.flow[0][one.valid[0]], -1, 0)).max())
    known = one.valid[0]
    assert np.array_equal(called(page, "expected")[0], flow_image(one.flow[0], scale, known))
    assert np.array_equal(called(page, "found")[0], flow_image(one.flow[0][..., ::-1], scale))
    assert "How flow is coloured" in page
    every = np.ones_like(one.valid)
    page = page_of("eval-crop-centred", replace(data.SERVED, batches=data.first(
        data.EVALUATED, valid=every)))  # fmt: skip
    assert np.array_equal(called(page, "expected")[0], mask_image(one.valid[0]))
    assert np.array_equal(called(page, "found")[0], mask_image(every[0]))
    assert "How flow is coloured" not in page


def test_a_permuted_order_shows_both_columns_and_where_each_sample_belongs():
    served = data.serve_all((0, 2, 1, 3, 4), [(1, 2)] * 5, "other")
    page = page_of("eval-order-fixed", replace(data.SERVED, batches=served, again=served))
    found = rows(page)
    assert [cells[:3] for cells, _ in found] == [
        ["0", "a/0", "a/0"], ["1", "a/1", "b/2"], ["2", "b/2", "a/1"], ["3", "b/3", "b/3"],
        ["4", "c/4", "c/4"],
    ]  # fmt: skip
    assert [wrong for _, wrong in found] == [False, True, True, False, False]
    assert [cells[4] for cells, wrong in found if wrong] == ["of place 2", "of place 1"]
    assert "2 of 5 places differ" in page


def test_crops_that_come_again_are_shown_by_what_is_the_same():
    corners = [(0, 0), (3, 4), (1, 2), (0, 1), (2, 2)]
    again = replace(data.DRAWS, second=data.serve_all((1, 2, 0, 3, 4), corners, "two"))
    found = judged("train-draws-declared", again)
    assert found.violations == ("crops of epoch 2: expected others than epoch 1, found the same",)
    page = broken_page(found, facts=FACTS, version="0")
    cells = [cells for cells, wrong in rows(page) if wrong]
    assert [one[1:4] for one in cells] == [[f"4 x 6 px at {c}"] * 2 + ["="] for c in corners]
    assert "5 of 5 places are the same and should differ" in page


def recomputation(reported):
    """Residuals of three scales that add up to some flow, and what is reported of it."""
    rng = np.random.default_rng(3)
    outputs = [rng.normal(0, 3, (3, 4 * s, 6 * s, 4)).astype(np.float32) for s in (1, 2, 4)]
    label = rng.normal(0, 3, (3, 16, 24, 2)).astype(np.float32)
    valid = np.ones(label.shape[:3], bool)

    def epe(flow):
        return tuple(np.hypot(*np.moveaxis(flow - label, -1, 0)).mean(axis=(1, 2)).tolist())

    right = epe(accumulate_residuals(outputs))
    last = epe(outputs[-1][..., :2])
    found = reported(right, last)
    row = ("000", ("a", "b", "c"), outputs, label, valid, found)
    zero = float(np.mean(epe(np.zeros_like(label))))
    return Recomputation([row], {"000": float(np.mean(found))}, zero), right, last


def test_a_metric_of_the_last_residual_shows_the_flow_that_it_scored():
    evidence, right, last = recomputation(lambda right, last: last)
    page = page_of("metric-recomputed", evidence)
    table = [(cells, wrong) for cells, wrong in rows(page)]
    assert [cells[1:3] for cells, _ in table] == [
        [f"{a:.6g}", f"{b:.6g}"] for a, b in zip(right, last, strict=True)
    ]
    assert all(wrong for _, wrong in table)
    (_, _, outputs, label, _, _) = evidence.rows[0]
    scale = float(np.hypot(*np.moveaxis(label[0].astype(float), -1, 0)).max())
    assert np.array_equal(called(page, "label")[0], flow_image(label[0], scale))
    total = accumulate_residuals([output[:1] for output in outputs])[0]
    assert np.array_equal(called(page, "residuals added up")[0], flow_image(total, scale))
    alone = flow_image(outputs[-1][0, ..., :2], scale)
    assert np.array_equal(called(page, "the last residual alone")[0], alone)
    assert f"EPE {right[0]:.6g} px" in page
    assert f"EPE {last[0]:.6g} px" in page


def test_a_metric_of_half_the_scale_is_half_in_every_row_and_below_the_diagonal():
    evidence, right, _ = recomputation(lambda right, _: tuple(e / 2 for e in right))
    page = page_of("metric-recomputed", evidence)
    assert [cells[5] for cells, _ in rows(page)] == ["0.5"] * 3
    assert called(page, "the last residual alone") == []
    points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page)
    assert len(points) == len(right)
    # On the diagonal cx - left + cy - top is the side: below it more.
    assert all(float(x) - 62 + float(y) - 12 > 281 for x, y in points)


def test_known_answers_are_told_one_by_one():
    cases = [("perfect, in one", [0.0, 0.0], [0.0, 0.0]), ("plus (3, 4)", [5.0, 5.0], [2.5, 5.0])]
    page = page_of("metric-oracle", Oracle(cases))
    assert [(cells[:3], wrong) for cells, wrong in rows(page)] == [
        (["perfect, in one, sample 0", "0", "0"], False),
        (["perfect, in one, sample 1", "0", "0"], False),
        (["plus (3, 4), sample 0", "5", "2.5"], True),
        (["plus (3, 4), sample 1", "5", "5"], False),
    ]


def test_a_head_that_moves_no_score_is_told_by_equal_ones():
    page = page_of("metric-alive", replace(RESPONSE, changed={**RESPONSE.changed, "H1Out": BASE}))
    found = rows(page)
    assert len(found) == 15
    assert all(wrong and cells[1] == cells[2] and cells[3] == "=" for cells, wrong in found)
    assert "H1Out changed" in page
    twins = dict.fromkeys(RESPONSE.changed, scores.MOVED_TWINS)
    found = rows(page_of("metric-alive", replace(RESPONSE, base=scores.TWINS, changed=twins)))
    assert [cells[0] for cells, _ in found] == [f"sample {i}" for i in range(5)]
    assert all(wrong and cells[1] == cells[2] for cells, wrong in found)


def test_one_bit_of_a_score_is_seen_in_all_its_digits():
    page = page_of("same-scores-again", replace(REPEAT, again=nudged(BASE, "111111111")))
    ((cells, _),) = [row for row in rows(page) if row[1]]
    assert cells[0] == "arch 111111111, sample 3"
    assert cells[1] != cells[2]
    assert float(cells[1]) == BASE.per_sample["111111111"][3]


def test_an_augmented_label_shows_what_its_flow_makes_of_the_second_frame():
    first, second, flow = known_scene(1, height=58, width=86)
    known = np.ones(flow.shape[:2], bool)
    scene = TrainingSample(*(a.astype(np.float32) for a in (first, second, -flow)), known)
    page = page_of("augmented-labels-follow", AugmentedSamples([scene]))
    shown = called(page, "first frame")[0].astype(int)
    assert np.abs(shown - first).max() <= 255 * 0.02 + 1  # on one scale with the second frame
    assert called(page, "second, taken back")[0].shape == first.shape
    back, seen = taken_back(second, flow, known)
    assert 0.7 < seen.mean() < 1
    assert np.abs(back - first)[seen].mean() < 0.05 * np.abs(second - first.astype(float)).mean()
    assert len(called(page, "as given")) == 1


def test_windows_of_drawn_cases_are_drawn_without_a_frame():
    def rounds_up(frame, crop):
        return Window(-(-(frame[0] - crop[0]) // 2), (frame[1] - crop[1]) // 2, *crop)

    parts = SimpleNamespace(center=rounds_up)
    page = page_of("centre-window", parts)
    assert "found: row 1, column 0, 1x1 px</li>" in page
    assert called(page, "whole frame")[0].shape == (2, 1, 3)

    def never_the_last(frame, crop, **draw):
        window = random_window(frame, crop, **draw)
        return replace(window, left=min(window.left, max(frame[1] - crop[1] - 1, 0)))

    page = page_of("random-window", SimpleNamespace(random=never_the_last))
    expected, found = (called(page, name)[0][..., 0] > 0 for name in ("expected", "found"))
    assert expected[:4, :3].all()
    assert not expected[4:].any()
    assert np.argwhere(expected & ~found).tolist() == [[row, 2] for row in range(4)]


def test_orders_that_leave_a_sample_out_are_shown():
    parts = SimpleNamespace(
        train_order=lambda count, **_: list(range(1, count)), eval_order=lambda n: list(range(n))
    )
    ((cells, wrong), *_) = rows(page_of("orders", parts))
    assert (cells[:3], wrong) == (["sample 0", "1", "0"], True)


# ---- what is kept, and how much


def test_what_holds_shows_nothing():
    for name, evidence in (("eval-crop-centred", data.SERVED), ("eval-order-fixed", data.SERVED),
                           ("same-scores-again", REPEAT)):  # fmt: skip
        found = judged(name, evidence)
        assert (found.verdict, found.shown) == ("holds", ())


def test_of_many_mismatches_the_first_are_kept():
    off = replace(data.SERVED, batches=data.serve_all(range(5), [(2, 2)] * 5, "eval"))
    found = judged("eval-crop-centred", off)
    assert (len(found.violations), [number for number, _ in found.shown]) == (5, [0, 0, 1, 1, 2, 2])
    many = orders_beside("o", range(5000), [*range(2000), *range(2001, 5000)])
    assert (len(many.expected), many.start, many.after) == (MOST_ROWS, 1997, 5000 - 1997 - 100)
    wrong = [Row(str(i), 1.0, 2.0, i in (7, 4000)) for i in range(5000)]
    kept = values_beside("v", "px", wrong)
    assert (len(kept.rows), kept.left_out) == (MOST_ROWS, 4900)
    assert [row.name for row in kept.rows[:4]] == ["7", "4000", "0", "1"]


ROWS = [
    (promise, evidence)
    for module in (consumed, data, offline, scores)
    for check, planted in module.CORRUPTED.items()
    for promise in [next((p for p in PROMISES.values() if p.check is check), None)]
    for evidence, _ in planted.values()
    if promise is not None
]


def test_all_that_is_planted_in_the_evidence_of_a_promise_can_be_drawn():
    found = [judge_evidence(promise, lambda e=evidence: e) for promise, evidence in ROWS]
    drawn = [one for one in found if one.shown]
    assert len(drawn) > len(found) / 2 > 30
    for one in drawn:
        broken_page(one, facts=FACTS, version="0")


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def array(*last, kind=np.float32, elements=FLOATS):
    sides = st.tuples(st.integers(0, 4), st.integers(0, 5))
    return sides.flatmap(lambda s: arrays.arrays(kind, (*s, *last), elements=elements))


@st.composite
def anything(draw):
    """Return whatever a system of somebody's may bring about, of each kind."""
    window = st.none() | st.tuples(*[st.integers(-3, 9)] * 4)
    size = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    flow = draw(array(2))
    valid = np.ones(flow.shape[:2], bool)
    row = st.builds(Row, st.text(max_size=3), *[st.none() | FLOATS] * 2, st.booleans())
    names = st.lists(st.text(max_size=2), max_size=4)
    bgr = st.integers(0, 255)
    return [
        Windows("w", size, draw(window), draw(window)),
        Frames("f", draw(array(3)), draw(array(3))),
        Frames("b", *(draw(array(3, kind=np.uint8, elements=bgr)) for _ in range(2))),
        Flows("o", flow, draw(array(2)), valid),
        Flows("l", flow, draw(st.none() | array(2)), valid, draw(array(2))),
        Masks("m", *(draw(array(kind=bool, elements=st.booleans())) for _ in range(2))),
        orders_beside("r", draw(names), draw(names)),
        values_beside("v", "px", draw(st.lists(row, max_size=4))),
    ]


@given(anything())
@settings(max_examples=25)
def test_whatever_was_found_can_be_drawn_and_nothing_of_it_runs(shown):
    promise = PROMISES["eval-crop-centred"]
    found = Judgement(promise, "BROKEN", "t", ("<b>", "t"), shown=tuple((1, s) for s in shown))
    page = broken_page(found, facts=FACTS, version="0")
    assert "<script" not in page
    assert "&lt;b&gt;" in page
    assert "a &lt;system&gt;" in page
    assert re.search(r'(src|href)="(?!data:)', page) is None


def test_infinite_values_on_both_sides_are_grey_and_no_warning():
    endless = np.full((2, 3, 3), np.inf, np.float32)
    shown = (Frames("f", endless, endless), Flows("o", endless[..., :2], endless[..., :2]))
    found = Judgement(PROMISES["eval-crop-centred"], "BROKEN", "t", ("t",),
                      shown=tuple((0, one) for one in shown))  # fmt: skip
    images = called(broken_page(found, facts=FACTS, version="0"), "difference")
    assert [np.unique(image).tolist() for image in images] == [[128], [128]]


# ---- the folder


def state(tmp_path, number=1):
    asked = Asked(pictures=str(tmp_path / "p"), promises=("metric-oracle",))
    gated = {"name": "n", "code": {"commit": "", "dirty": None}}
    return SimpleNamespace(asked=asked, number=number, pages={}, gated=gated, chosen=None)


BROKEN = judged("metric-oracle", Oracle([("c", [0.0], [1.0])]))


def test_a_page_is_written_once_it_is_asked_for_and_the_arrays_go(tmp_path):
    where = state(tmp_path)
    found = keep_page(BROKEN, where)
    assert found == BROKEN
    assert (found.shown, BROKEN.shown != ()) == ((), True)
    assert where.pages == {"metric-oracle": f"drawn: {tmp_path / 'p' / 'metric-oracle.html'}"}
    assert is_page(tmp_path / "p" / "metric-oracle.html")
    where.asked = Asked()
    assert keep_page(BROKEN, where).shown == ()
    assert where.pages == {"metric-oracle": ""}
    keep_page(BROKEN, second := state(tmp_path, number=2))
    assert second.pages["metric-oracle"].endswith("p/metric-oracle.2.html")


def test_a_page_that_cannot_be_written_leaves_the_verdict(tmp_path):
    (tmp_path / "p").write_text("no folder")
    where = state(tmp_path)
    assert keep_page(BROKEN, where) == BROKEN
    assert where.pages["metric-oracle"].startswith("not drawn: FileExistsError: ")


def test_pages_of_an_earlier_gate_go_and_nothing_else(tmp_path):
    keep_page(BROKEN, where := state(tmp_path))
    other = tmp_path / "p" / "eval-pure.html"
    other.write_text("somebody's own")
    remove_pages(where.asked)
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["eval-pure.html"]
    (tmp_path / "p" / "metric-oracle.html").write_text("somebody's own")
    with pytest.raises(InputError, match=r"metric-oracle\.html: this is no page of a gate"):
        remove_pages(where.asked)


def test_the_hint_says_how_much_can_be_drawn():
    assert hint({}, 3) == hint({"a": "drawn: p"}, 1) == ""
    assert hint({"a": "", "b": ""}, 3).startswith("--pictures DIR draws 2 of the 3 that broke")
    assert hint({"a": ""}, 1).startswith("--pictures DIR draws what broke")


def test_a_violation_with_and_without_pictures_is_the_same_to_who_compares_them():
    bare = Violation("w", "e", "f")
    shows = replace(bare, shown=(Values("t", "px", ()),))
    assert (bare, repr(bare)) == (shows, repr(shows))
