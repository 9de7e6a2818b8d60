"""Ledgers and journals of scores: a damaged line is named, and nothing else is believed."""

import pytest

from harness.errors import InputError
from harness.evaluation.journal import FileJournal
from harness.records.ledger import Ledger, read_ledger
from harness.records.run import read_history
from tests.chains import without_chain
from tests.fuzz.fuzzing import CHEAP, OTHERS, counts, replay, run_cases, seed
from tests.fuzz.mutators import BYTES, JSON_LINES, LINES, base64_value, one_of
from tests.ledger_runs import make_records
from tests.test_journal import HEADER, SIZES, entries, require_equal

DAMAGE = one_of(*BYTES, *LINES, *JSON_LINES)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    made = Ledger(path)
    for record in make_records(epochs=3):
        made(record)
    made.close()
    return path.read_bytes()


def without_chains(content):
    return "\n".join(map(without_chain, content.decode().splitlines())).encode() + b"\n"


def what_is_whole(path, whole):
    """Read a ledger; what it has lost must be told, and what it holds was written."""
    content = read_ledger(path)
    if content.lost() and all(record in whole for record in content.records):
        raise InputError(f"{path}: {content.lost()[0]}")
    return content


def is_beginning_of(whole):
    """Say what a ledger holds that the whole one does not, or lacks without a word.

    The end may be missing: a run that was killed there leaves the same.
    """

    def judge(name, content):
        if content.records == whole[: len(content.records)]:
            return None
        return f"other records: {[type(r).__name__ for r in content.records]}"

    return judge


def reader(path, read):
    def at_path(name, content):
        path.write_bytes(content)
        return read(path)

    return at_path


@counts(CHEAP, few=400)
def test_a_damaged_ledger_says_where_and_holds_no_other_record(count, ledger, tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(ledger)
    whole = read_ledger(path).records
    run_cases(
        "ledger", originals={"ledger": ledger}, mutate=DAMAGE,
        read=reader(path, lambda path: what_is_whole(path, whole)), judge=is_beginning_of(whole),
        count=count, seed=seed(), named=lambda _: str(path),
    ).require_clean()  # fmt: skip


def judged_and_shown(path):
    from harness.commands.facts import run_facts
    from harness.promises.judge import judge_evidence
    from harness.promises.ledger.registry import LEDGER_PROMISES
    from harness.reporting.curves import view
    from harness.reporting.pool_space import pool_space
    from harness.reporting.space_html import space_section
    from harness.reporting.summary import summary

    try:
        content = read_ledger(path)
        history = read_history(content)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    for line in content.broken:
        assert str(line).isprintable()
        assert len(str(line)) < 500
    for segment in history.segments:
        for promise in LEDGER_PROMISES.values():
            judge_evidence(promise, lambda segment=segment: segment)
    if history.rows:
        shown = view("a", history, across=True)
        summary(shown)
        space_section([pool_space(shown)], (), ())
        run_facts(history, None, None)


@pytest.mark.parametrize("chained", [True, False], ids=["chained", "of an earlier version"])
@counts(OTHERS, few=60)
def test_whatever_a_ledger_holds_is_judged_and_shown(count, chained, ledger, tmp_path):
    path = tmp_path / "ledger.jsonl"
    whole = ledger if chained else without_chains(ledger)
    tally = run_cases(
        f"ledger-{'shown' if chained else 'old'}", originals={"ledger": whole}, mutate=DAMAGE,
        read=reader(path, judged_and_shown), judge=lambda *_: None, count=count, seed=seed(),
        named=lambda _: str(path),
    )  # fmt: skip
    tally.require_clean()


def told_of(path):
    """Read a ledger that holds a line which is no record of it: it must be told."""
    lost = read_ledger(path).lost()
    if lost:
        raise InputError(f"{path}: {lost[0]}")


def test_lines_that_were_believed_once_are_told(tmp_path):
    path = tmp_path / "ledger.jsonl"
    replay(
        "ledger-old", read=reader(path, told_of), judge=lambda *_: "nothing is told",
        named=lambda _: str(path),
    ).require_clean()  # fmt: skip
    shown = replay("ledger-old", read=reader(path, judged_and_shown), judge=lambda *_: None)
    assert not shown.findings


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "space.scores.jsonl"
    with FileJournal(path, HEADER, samples=SIZES) as made:
        for entry, found in entries().items():
            made[entry] = found
    return path.read_bytes()


def read_scores(path):
    with FileJournal(path, HEADER, samples=SIZES) as found:
        return dict(found)


def is_beginning(name, found):
    """Say where a journal is not the beginning of the whole one; the rest is computed again."""
    whole = entries()
    try:
        require_equal(found, {entry: whole[entry] for entry in list(whole)[: len(found)]})
    except (AssertionError, KeyError) as error:
        return f"other values: {error}"
    return None


@counts(CHEAP, few=400)
def test_a_damaged_journal_of_scores_is_refused_or_its_beginning_is_right(count, journal, tmp_path):
    path = tmp_path / "space.scores.jsonl"
    run_cases(
        "scores", originals={"scores": journal}, mutate=one_of(DAMAGE, DAMAGE, base64_value),
        read=reader(path, read_scores), judge=is_beginning, count=count, seed=seed(),
        named=lambda _: str(path),
    ).require_clean()  # fmt: skip


@counts(OTHERS, few=200)
def test_a_damaged_journal_of_an_earlier_version_is_no_traceback(count, journal, tmp_path):
    path = tmp_path / "space.scores.jsonl"
    run_cases(
        "scores-old", originals={"scores": without_chains(journal)},
        mutate=one_of(DAMAGE, DAMAGE, base64_value), read=reader(path, read_scores),
        judge=lambda *_: None, count=count, seed=seed(), named=lambda _: str(path),
    ).require_clean()  # fmt: skip
