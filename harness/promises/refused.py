"""What refusing is: an error, whose message names what was wrong."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import NotApplicableError, plain_line
from harness.promises.promise import Outcome, Violation, outcome
from harness.systems.answers import AnswerError
from harness.systems.process import WorkerError
from harness.systems.protocol import Description

__all__ = [
    "FLOW_WITH_NAN", "Case", "Refusals", "attempted", "bad_input_is_refused", "names_word",
    "whose_finite_check",
]  # fmt: skip

Case = tuple[str, tuple[str, ...], str | None, str]
"""What was wrong, the words of which the error must name one, the error's type (None: the system
went on), and its message."""

FLOW_WITH_NAN = "flow with NaN"
"""The case of which a label's values are wrong: who accepts it does not look at them."""


@dataclass(frozen=True)
class Refusals:
    """What a system did with input it must refuse; ``note`` is what else is to be said."""

    cases: Sequence[Case]
    note: str = ""


def whose_finite_check(about: Description, call: str) -> str:
    """Return that the adapter looks for NaN in a call, where it says so; else nothing."""
    if call not in about.finite_by_adapter:
        return ""
    return f"the adapter's own check in {call}() refuses it, the trainer alone would go on"


def attempted(action: Callable[[], Any]) -> tuple[str | None, str]:
    """Return the type of the error that an action raises (None: it raised none) and its text."""
    try:
        action()
    except (AnswerError, NotApplicableError, WorkerError):
        raise  # not the system's refusal
    except Exception as error:  # noqa: BLE001 -- whatever a system raises is the evidence
        return type(error).__name__, str(error)
    return None, "it went on"


def names_word(message: str, word: str) -> bool:
    """Return whether a message has a name in it, and not as part of another word.

    Of a dotted name the last components count too, two at least: a wrapper such as PyTorch's
    DataParallel puts ``module.`` before names that the trainer knows without it. So does a dotted
    name by itself, behind that of the module that has it (``ema/net.weight``).
    """
    if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message):
        return True
    _, whose, own = word.rpartition("/")
    parts = own.split(".")
    if not all(part.isidentifier() or part.isdigit() for part in parts):
        return False
    ends = (".".join(parts[start:]) for start in range(not whose, len(parts) - 1))
    # Not behind another component: `b.conv.weight` is not `a.conv.weight`.
    # The trainer may know it with what a wrapper puts before it.
    head = r"(?<![\w.])(?:module\.)*"
    return any(re.search(rf"{head}{re.escape(end)}(?!\w)", message) for end in ends)


def bad_input_is_refused(evidence: Refusals) -> Outcome:
    """Require each bad input to stop the system, and the message to name it."""
    violations, whole = [], []
    # What was accepted first: it is worse than an error that does not say which file it means.
    for case, words, error, message in sorted(evidence.cases, key=lambda c: c[2] is not None):
        if not all(words) or not words:
            violations.append(Violation(case, "a name to look for in the message", repr(words)))
        elif error is None:
            kind = "label" if case == FLOW_WITH_NAN else "accepted"
            violations.append(Violation(case, f"an error that names {words[-1]}", message, kind))
        elif not any(names_word(message, word) for word in words):
            violations.append(
                Violation(f"the message on {case}", f"the name {words[-1]}",
                          f"{error}: {plain_line(message)}", "unnamed")
            )  # fmt: skip
            whole.append(f"{case}: {error}: {message}")
    names = ", ".join(dict.fromkeys(case for case, *_ in evidence.cases))
    notes = (evidence.note,) if evidence.note and not violations else ()
    found = outcome(violations[:6], len(evidence.cases), f"refused by name: {names}", notes)
    return dataclasses.replace(found, detail="\n\n".join(whole))
