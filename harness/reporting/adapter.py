"""How the calls of an adapter went, and what it could add, for a terminal of 80 columns."""

import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from harness.promises.adapter_calls import Called, Seen
from harness.promises.openings import SAYINGS, UNOPENED, applying, offered, openings
from harness.promises.registry import PROMISES
from harness.wording import counted

__all__ = ["CALLS", "as_json", "call_lines", "head_lines", "summary_lines"]

_WIDTH = 80

CALLS: Mapping[str, str] = MappingProxyType(
    {
        "open": "gets ready under a configuration",
        "evaluate": "scores archs with the present weights",
        "evaluate_offline": "scores archs of a checkpoint, by what evaluates outside of training",
        "state": "every array that determines what follows, and assigns some",
        "batches": "serves the batches of training, evaluation and recalibration",
        "draws": "tells what training draws under any seed and epoch, without training",
        "train": "trains until so many epochs are completed",
        "training_samples": "the samples of an epoch as its steps get them, augmented",
        "save": "writes a checkpoint",
        "restore": "continues from one",
        "predict": "the outputs for a batch that was served",
        "score": "your metric on outputs that are handed in",
        "recalibrate": "statistics of batch normalisation, without assigning them",
    }
)
"""What each call does, for somebody who has not written it yet."""


def head_lines() -> list[str]:
    """Return the head of the table of calls."""
    return [f"{'call':28}{'seconds':>8}{'MiB':>8}"]


def call_lines(called: Called) -> list[str]:
    """Return how one call went: a line, and what is wrong beneath it."""
    seconds = "-" if called.seconds is None else f"{called.seconds:.2f}"
    memory = "-" if called.memory_mib is None else f"{called.memory_mib:.0f}"
    start = f"{called.call:28}{seconds:>8}{memory:>8}  {called.state:10}"
    if len(called.call) > 27:  # a long one has a line of its own
        start = f"{called.call}\n{'':28}{seconds:>8}{memory:>8}  {called.state:10}"
    first = start.rpartition("\n")[2]
    lines = start.splitlines()[:-1] + _wrapped(called.figures, first, " " * len(first))
    lines = lines if called.figures else start.rstrip().splitlines()
    for finding in called.findings:
        lines += _wrapped(finding.text, "    ", "    ")
        if finding.advice:
            lines += _wrapped(finding.advice, "    -> ", "       ")
    return lines


def summary_lines(seen: Seen, again: str) -> list[str]:
    """Return what is wrong in a line, and what the adapter could be judged on, now and with more.

    Parameters
    ----------
    again : str
        The command that asks the gate.
    """
    lines = [""]
    if seen.about is None:
        text = "what could be judged is not known: describe() gave no answer"
        return [*lines, text, *_last_lines(seen, again)]
    has = offered(seen.about, seen.training, seen.evaluation)
    quick = sum(promise.in_quick for promise in PROMISES.values())
    now = len(applying(has))
    text = f"{now} of {quick} promises of the quick tier can be judged as it stands"
    lines += _wrapped(f"{text}; more could be with:", "", "")
    for opening in openings(has):
        if UNOPENED in opening.missing:
            text = f"nothing opens {len(opening.promises)} more: {SAYINGS[UNOPENED]}"
            lines += _wrapped(text, "", "")
            continue
        names = ", ".join(opening.promises)
        lines += _wrapped(f"{' + '.join(opening.missing)}", "  + ", "    ")
        if len(opening.missing) == 1:
            lines += _wrapped(_meaning(opening.missing[0]), "      ", "      ")
        lines += _wrapped(names, "      opens ", "        ")
    return [*lines, *_last_lines(seen, again)]


def _last_lines(seen: Seen, again: str) -> list[str]:
    """Return what stays on the screen: whether anything is wrong, and what comes next."""
    notes = sum(not f.wrong for called in seen.calls for f in called.findings)
    noted = f", {counted(notes, 'note')}"
    if not seen.wrong:
        return [f"nothing is wrong{noted}; next:", f"  {again}"]
    calls = dict.fromkeys(c.call for c in seen.calls if c.state == "WRONG")
    return _wrapped(
        f"{seen.wrong} wrong, in {', '.join(calls)}{noted}: mend it, then check again", "", ""
    )


def as_json(seen: Seen) -> dict[str, Any]:
    """Return everything that was found, for machines."""
    calls = [
        {
            "call": called.call, "state": called.state, "figures": called.figures,
            "measured": {"seconds": called.seconds, "memory_mib": called.memory_mib},
            "findings": [
                {"text": f.text, "advice": f.advice, "wrong": f.wrong} for f in called.findings
            ],
        }
        for called in seen.calls
    ]  # fmt: skip
    result: dict[str, Any] = {"wrong": seen.wrong, "calls": calls}
    if seen.about is not None:
        has = offered(seen.about, seen.training, seen.evaluation)
        result["applies"] = list(applying(has))
        result["opens"] = [
            {"missing": list(one.missing), "promises": list(one.promises)}
            for one in openings(has)
        ]  # fmt: skip
    return result


def _meaning(word: str) -> str:
    return SAYINGS.get(word) or CALLS.get(word, "")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
