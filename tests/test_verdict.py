"""A gate ends in one colour, and a known defect is accepted with its reason alone."""

import pytest

from harness.gate_lines import SCREEN_ROWS, result_lines, table_lines, wrapped
from harness.promises.judge import Judgement
from harness.promises.promise import Outcome, Promise
from harness.promises.roots import AREAS
from harness.verdict import gate_note, gate_result, parse_known_defects


def judged(name, verdict="holds", *, text="text", by=()):
    promise = Promise(name, f"{name} is kept", lambda _: Outcome((), ""), "hint", explained_by=by)
    return Judgement(promise, verdict, text, (text,) if verdict == "BROKEN" else ())


def result(*judgements, known=None, **options):
    areas = dict.fromkeys((j.promise.id for j in judgements), AREAS[0])
    return gate_result(judgements, areas=areas, known_defects=known, **options)


A, B = judged("a"), judged("b", "BROKEN")


@pytest.mark.parametrize(
    ("judgements", "options", "verdict", "line"),
    [
        ((A,), {}, "green", "GATE GREEN: 1 promise holds"),
        ((A,), {"unchecked": 3}, "incomplete", "GATE INCOMPLETE: 1 promise holds, 3 not run"),
        ((A,), {"failed": True}, "red", "GATE RED: 1 promise holds, but other tests failed"),
        ((judged("a", "n/a"),), {}, "empty",
         "GATE EMPTY: nothing was found to hold; 1 not applicable"),
        ((A, B), {}, "red", "GATE RED: 1 promise holds, 1 broken"),
        ((A, judged("b", "error")), {}, "red", "GATE RED: 1 promise holds, 1 could not be checked"),
        ((A, B), {"known": {"b": "since March"}}, "green except known",
         "GATE GREEN except 1 known: 1 promise holds, 1 known"),
        ((A, B), {"known": {"b": "since March"}, "unchecked": 1}, "incomplete",
         "GATE INCOMPLETE: 1 promise holds, 1 known, 1 not run"),
    ],
)  # fmt: skip
def test_a_gate_ends_in_a_verdict(judgements, options, verdict, line):
    found = result(*judgements, **options)
    assert (found.verdict, found.line) == (verdict, line)


@pytest.mark.parametrize(
    ("judgements", "known", "complaint"),
    [
        ((A,), {"a": "since March"}, "known defect a: it holds now; take it off the list"),
        ((A, B), {"b": ""}, "known defect b: no reason, expected 'b: why it is accepted'"),
        ((A,), {"zzz": "why"}, "known defect 'zzz': no promise of that name"),
    ],
)
def test_a_list_of_known_defects_that_is_not_right_is_red(judgements, known, complaint):
    found = result(*judgements, known=known)
    assert found.verdict == "red"
    assert found.complaints[0].startswith(complaint)


def test_a_known_defect_covers_neither_what_follows_from_it_nor_what_could_not_be_checked():
    found = result(A, B, judged("c", "BROKEN", by=("b",)), known={"b": "why"})
    assert (found.verdict, [r.judgement.promise.id for r in found.roots]) == ("red", ["c"])
    assert result(A, judged("b", "error"), known={"b": "why"}).verdict == "red"


def test_a_known_defect_that_does_not_apply_is_a_warning():
    found = result(A, judged("b", "n/a"), known={"b": "why"})
    assert found.verdict == "green"
    *_, last = (line for line, _ in table_lines(found, whole=True))
    assert last == "warning: known defect b: it does not apply here, and is listed"


def test_known_defects_are_read_a_line_each():
    lines = ["nan-stops: the loop has no check: yet", " ", "metric-alive"]
    expected = {"nan-stops": "the loop has no check: yet", "metric-alive": ""}
    assert parse_known_defects(lines) == expected


@pytest.mark.parametrize("count", [1, 2, 7, 15, 20])
def test_the_roots_fit_on_one_screen_each_once_with_the_verdict_last(count):
    roots = [judged(f"r{i}", "BROKEN", text=f"r{i}: {'word ' * 200}") for i in range(count)]
    below = [judged(f"c{i}", "BROKEN", text="never shown", by=("r0",)) for i in range(6)]
    found = result(*roots, *below)
    lines = [line for line, _ in result_lines(found, "what is broken", width=80, whole=False)]
    assert sum(-(-len(line) // 80) for line in lines) <= SCREEN_ROWS
    assert lines[1].startswith("1. r0: ")
    assert lines[1].endswith(" (and 6 that follow from it)")
    assert sum("that follow from it" in line for line in lines) == 1
    assert lines[-1].startswith(f"GATE RED: {count + 6} broken")
    assert "never shown" not in "".join(lines)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_terminal_breaks_no_word_and_the_roots_still_fit(count):
    roots = [judged(f"r{i}", "BROKEN", text="well-known " * (5 * i + 3)) for i in range(count)]
    found = result(*roots, judged("c", "BROKEN", by=("r0",)))
    again, given = f"again: harness gate {'name ' * 20}", {"width": 60, "whole": False}
    lines = [
        line for line, _ in result_lines(
            found, "what is broken", **given, again=again, hint="--pictures DIR " * 8, wrap=True
        )
    ]  # fmt: skip
    shown = [wrapped(line, 60) for line in lines]
    assert again in shown
    rows = [row for line in shown if line != again for row in line.split("\n")]
    assert max(map(len, rows)) <= 60
    assert len(rows) + -(-len(again) // 60) <= SCREEN_ROWS
    words = {word for row in rows for word in row.split()}
    assert words == {word for line in lines for word in line.split() if line != again}
    assert "(and 1 that follows from it)" in " ".join(shown[1].split())


def test_rows_of_a_line_begin_where_its_text_does():
    for line, indent in (
        ("1. a: b c d", 3),
        ("     - e f g h", 7),
        ("     why not", 5),
        ("a bc de", 3),
    ):
        first, *others = wrapped(line, len(line) - 3).split("\n")
        assert [len(row) - len(row.lstrip()) for row in others] == [indent]
        assert f"{first} {others[0].strip()}" == line


@pytest.mark.parametrize("count", [1, 2, 5, 7, 15])
def test_pages_are_named_and_the_roots_still_fit(count):
    roots = [judged(f"r{i}", "BROKEN", text=f"r{i}: {'word ' * 200}") for i in range(count)]
    found = result(*roots, judged("c", "BROKEN", text="never shown", by=("r0",)))
    pages = {f"r{i}": f"drawn: pictures/r{i}.html" for i in range(count)}
    lines = [
        line for line, _ in result_lines(
            found, "what is broken", width=80, whole=False, pages={**pages, "c": "drawn: p/c.html"},
            again="again: harness gate", hint="--pictures DIR draws 1 of the 2 that broke",
        )
    ]  # fmt: skip
    assert sum(-(-len(line) // 80) for line in lines) <= SCREEN_ROWS
    assert "   drawn: pictures/r0.html" in "\n".join(lines)
    named = [line for line in lines if "drawn: " in line]
    if count <= 5:
        each = [f"   {page}" for page in pages.values()]
        assert named == [*each, "   also drawn: p/c.html"]
    else:
        assert named == [f"   drawn: pictures/r0.html and {count} more"]
    assert lines[-3:-1] == ["--pictures DIR draws 1 of the 2 that broke", "again: harness gate"]


def test_all_is_shown_on_demand():
    found = result(A, B, judged("c", "BROKEN", text="of c", by=("b",)))
    pages = {"b": "drawn: p/b.html", "c": "drawn: p/c.html"}
    lines = result_lines(found, "heading", width=80, whole=True, pages=pages)
    text = "\n".join(line for line, _ in lines)
    for words in (*pages.values(),
                  f"{AREAS[0]}:", "1. Broken promise: b is kept [b]", "     - text",
                  "What it usually means: hint", "follows: c: of c"):  # fmt: skip
        assert words in text


def test_the_table_names_what_holds_what_does_not_apply_and_what_is_known():
    found = result(A, B, judged("c", "n/a", text="why"), judged("d", "BROKEN"), known={"b": "so"})
    lines = [line for line, _ in table_lines(found, whole=True)]
    assert lines == ["holds  a  text", "n/a    c  why", "known  b  so; broken: text"]
    lines = [line for line, _ in table_lines(found, whole=False)]
    counts = "1 promise holds, 1 not applicable: -v lists them, with figures and reasons"
    assert lines == [counts, "known  b  so; broken: text"]


def test_a_subset_that_was_asked_for_can_be_green():
    found = result(A, judged("c"), required=True)
    assert (found.verdict, found.line) == ("green", "GATE GREEN: 2 of 2 required promises hold")
    found = result(A, judged("c", "n/a"), required=True, unchecked=1)
    line = "GATE INCOMPLETE: 1 of 3 required promises hold, 1 not applicable, 1 not run"
    assert found.line == line


def test_the_record_of_a_gate_says_what_was_gated_and_what_was_accepted():
    code = {"commit": "0123456789abcdef", "dirty": True}
    gate = {
        "verdict": "green except known", "version": "1.2", "tier": "quick",
        "gated": {"name": "mine", "code": code}, "known_defects": {"nan-stops": "why"},
    }  # fmt: skip
    assert gate_note(gate) == (
        "gated: green except known, mine (commit 0123456789ab, dirty), samebits 1.2, tier quick; "
        "nan-stops: why"
    )
    old = gate_note({"verdict": "green", "system": "builtin", "version": "0.1", "tier": "full"})
    assert old == "gated: green, builtin (commit not known), samebits 0.1, tier full"
