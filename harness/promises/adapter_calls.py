"""Calls of an adapter, each timed and told of by itself: what came back, or what is wrong."""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from harness.errors import NotApplicableError, is_out_of_memory, memory_line, plain_line
from harness.promises.adapter_findings import Finding
from harness.systems.answers import AnswerError
from harness.systems.ending import memory_mib
from harness.systems.process import Worker, WorkerError
from harness.systems.protocol import Description, Evaluation, Training

__all__ = ["Asking", "Called", "Seen"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Called:
    """How one call went.

    Attributes
    ----------
    call : str
        As it is written.
    state : {"ok", "note", "WRONG", "n/a", "not tried"}
        ``n/a``: the adapter refused it by a reason of its own.
    seconds, memory_mib : float or None
        What it took, s, and what the adapter's process holds after it, MiB; None: not known.
    figures : str
        What came back, or why nothing did.
    findings : tuple of Finding
    """

    call: str
    state: str
    seconds: float | None = None
    memory_mib: float | None = None
    figures: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass
class Seen:
    """Everything that was called, and the answers that say what could be judged."""

    calls: list[Called] = field(default_factory=list)
    about: Description | None = None
    training: Training | None = None
    evaluation: Evaluation | None = None

    @property
    def wrong(self) -> int:
        """How many findings have to be mended."""
        return sum(finding.wrong for called in self.calls for finding in called.findings)


@dataclass
class Asking:
    """Makes calls and notes how each went; once the process is gone it makes no more.

    Parameters
    ----------
    on_result : callable
        Gets each call as soon as it was made.
    """

    on_result: Callable[[Called], None]
    seen: Seen = field(default_factory=Seen)
    worker: Worker | None = None
    stopped: str = ""

    def call(
        self, shown: str, ask: Callable[[], _T], figures: Callable[[_T], str] | None = None,
        judge: Callable[[_T], Iterable[Finding]] | None = None,
    ) -> _T | None:  # fmt: skip
        """Make a call.

        Parameters
        ----------
        shown : str
            As it is written.
        ask, figures, judge : callable
            Makes it; says what came back; finds what is wrong in that.

        Returns
        -------
        any
            Its answer; None where there is none that can be gone on with.
        """
        if self.stopped:
            self.note(Called(shown, "not tried", figures=self.stopped))
            return None
        begun, found = time.perf_counter(), None
        try:
            found = ask()
            called = Called(shown, "ok")
        except NotApplicableError as error:
            called = Called(shown, "n/a", figures=plain_line(str(error)))
        except Exception as error:  # noqa: BLE001 -- whatever an adapter raises is told
            called = Called(shown, "WRONG", findings=(_failure(error),))
        called = replace(called, seconds=time.perf_counter() - begun)
        called = replace(called, memory_mib=self._memory(shown))
        if called.state == "ok" and found is not None:
            told = tuple(judge(found)) if judge is not None else ()
            state = "WRONG" if any(f.wrong for f in told) else "note" if told else "ok"
            text = figures(found) if figures is not None else ""
            called = replace(called, state=state, figures=text, findings=told)
        self.note(called)
        return found

    def done(self, shown: str, ask: Callable[[], object]) -> bool:
        """Make a call that answers nothing; return whether it went well."""
        return self.call(shown, lambda: (ask(), True)[1]) is True

    def note(self, called: Called) -> None:
        """Note how a call went."""
        self.seen.calls.append(called)
        self.on_result(called)

    def leave_out(self, reason: str) -> None:
        """Make no further call, for a reason."""
        self.stopped = self.stopped or reason

    def _memory(self, shown: str) -> float | None:
        """Return what the process holds, MiB; where there is none any more nothing can be asked."""
        if self.worker is None:
            return None
        if not self.worker.running:
            self.leave_out(f"the process ended in {shown}")
            return None
        return memory_mib(self.worker.pid)


_MOST = 400
"""Characters of an error's sentence."""

_PLACE = re.compile(r'^ *File "([^"]+)", line (\d+), in (.+)$', re.MULTILINE)
_LIBRARIES = re.compile(r"(site|dist)-packages/|/lib/python3[.\d]*/|^<")
_OURS = "worker.py"
_ADVICE = (
    (r"array of float32, found an array of float(64|16)", "convert it: .astype(np.float32)"),
    (r"array of float64, found an array", "convert it: .astype(np.float64)"),
    (r"array of uint8, found an array", "hand over the file's bytes, before they are scaled"),
    (r"array of bool, found an array", "convert it: .astype(bool)"),
    (r"expected an array, found (int|float|bool)", "counters are arrays too: np.array(3)"),
    (r"requires grad|on cuda|CUDA tensor", "hand over plain arrays: tensor.detach().cpu().numpy()"),
    (r"unknown call", "spell it as the protocol does, or take it off can"),
    (r"unknown field", "take it out, or see docs/your-trainer.md for how it is written"),
    (r": no field", "add it: docs/your-trainer.md has the fields of each answer"),
    (r"__init__\(\) (missing|got an|takes)",
     "let it take root alone, given by --system-root, or nothing"),
    (r"required positional argument|unexpected keyword|takes \d+ positional|takes no arg",
     "take the arguments that docs/your-trainer.md has under The calls"),
    (r"cannot send|keys must be strings",
     "answer with numbers, texts, lists, dicts by text and NumPy arrays alone"),
    (r"No module named '(torch|lightning|tensorflow|keras|numpy)'",
     "install it for that interpreter, or name the one that has it with --system-python"),
    (r"No module named",
     "put the trainer's folder on sys.path in the adapter, or name its interpreter with "
     "--system-python"),
    (r"no class '", "name the class that is meant behind the colon"),
)  # fmt: skip
"""What a message says, and what its reader does."""


def _failure(error: Exception) -> Finding:
    """Return what an error of a call says: its last line, where it was raised, what to do."""
    told = plain_line(str(error), most=_MOST)
    if is_out_of_memory(error):
        told = memory_line(error)
    elif not isinstance(error, AnswerError | WorkerError):
        told = f"{type(error).__name__}: {told}"
    text = told
    if isinstance(error, WorkerError) and "\n" in str(error):
        text += _last_of_log(str(error))
    notes = "\n".join(getattr(error, "__notes__", ()))
    places = [p for p in _PLACE.findall(notes) if Path(p[0]).name != _OURS]
    # Where the adapter's or the trainer's own code called what a library then refused.
    own = [p for p in places if not _LIBRARIES.search(p[0])] or places
    if own:
        file, line, function = own[-1]
        text += f" ({Path(file).name}, line {line}, in {function})"
    advice = next((what for pattern, what in _ADVICE if re.search(pattern, told)), "")
    return Finding(text, advice)


def _last_of_log(message: str) -> str:
    """Return the last line of a worker's log, which a message ends with; nothing if it is empty."""
    _, mark, log = message.partition("End of the worker's log:\n")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return f"; its log ends: {plain_line(lines[-1])}" if mark and lines else ""
