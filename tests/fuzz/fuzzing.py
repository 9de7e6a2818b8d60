"""Drives a reader with damaged inputs: it refuses in one line, or reads what the whole file says.

Every case has a stream of its own, made of the seed and its number, so that one alone can be run
again. A case ends well in two ways: *refused* by an expected error of one line that names the
input, or *equal* to what the whole file says. All else is found and saved: a traceback (another
error, or a message that is no line), a crash of the process, a hang, memory, and what was
accepted in silence.
"""

import json
import math
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.errors import InputError

CORPUS = Path(__file__).parent / "corpus"
CHEAP, OTHERS = 100_000, 20_000
"""Inputs that the nightly job tries on a reader that costs microseconds, and on any other."""
_LONGEST_LINE = 1000
_SHOWN = 5

Mutate = Callable[[Random, bytes], bytes]
Read = Callable[[str, bytes], Any]
Judge = Callable[[str, Any], str | None]


def counts(nightly, few=200):
    """Parametrize a test by how many inputs it tries: few at each change, many every night.

    ``SAMEBITS_FUZZ_COUNT`` overrides the few.
    """
    few = int(os.environ.get("SAMEBITS_FUZZ_COUNT", few))
    return pytest.mark.parametrize(
        "count",
        [
            pytest.param(few, id="few"),
            pytest.param(nightly, id="many", marks=pytest.mark.nightly),
        ],
    )


def seed():
    """Return the seed: the day's number at night may be given in ``SAMEBITS_FUZZ_SEED``."""
    return int(os.environ.get("SAMEBITS_FUZZ_SEED", 0))


@dataclass(frozen=True)
class Limits:
    """What a reader may take for one input.

    Attributes
    ----------
    seconds : float
        Wall-clock time.
    memory_mib : int or None
        Address space above what the process has when the cases begin; only in a child.
    """

    seconds: float = 5.0
    memory_mib: int | None = None


@dataclass(frozen=True)
class Finding:
    """A case that ended badly; ``saved`` is where its input lies."""

    kind: str
    case: int
    name: str
    text: str
    saved: str = ""

    def __str__(self) -> str:
        return f"case {self.case} ({self.name}): {self.kind}: {self.text} [{self.saved}]"


@dataclass
class Tally:
    """What became of the cases."""

    of: str
    seed: int
    count: int
    refused: int = 0
    equal: int = 0
    findings: list[Finding] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def line(self) -> str:
        """Return one line with count and seed."""
        bad = Counter(one.kind for one in self.findings)
        what = ", ".join(f"{n} {kind}" for kind, n in sorted(bad.items())) or "nothing found"
        return (
            f"fuzz {self.of}: {self.count} inputs, seed {self.seed}: {self.refused} refused in one "
            f"line, {self.equal} equal, {what}; slowest {self.slowest * 1000:.0f} ms"
        )

    def require_clean(self) -> None:
        """Print the line; fail where anything was found, or where no input did any harm."""
        print(self.line())  # noqa: T201 -- count and seed are to be seen
        shown = "\n".join(map(str, self.findings[:_SHOWN]))
        assert not self.findings, f"{self.line()}\n{shown}"
        assert self.refused, f"{self.line()}: no input was refused, are they damaged at all?"


class _TimeUp(BaseException):
    """A reader took longer than it may; no reader's own `except Exception` catches it."""


def run_cases(
    of: str, *, originals: Mapping[str, bytes], mutate: Mutate, read: Read, judge: Judge,
    count: int, seed: int = 0, expected: tuple[type[BaseException], ...] = (InputError,),
    limits: Limits = Limits(), apart: bool = False, named: Callable[[str], str] | None = None,
) -> Tally:  # fmt: skip
    """Try `count` damaged inputs on a reader.

    Parameters
    ----------
    of : str
        What is read: the corpus and what is saved are named so.
    originals : mapping of str to bytes
        Whole inputs, by name; each case damages one of them.
    mutate : callable
        (random, content) -> damaged content; may be one of :mod:`tests.fuzz.mutators`.
    read : callable
        (name, content) -> what the reader made of it.
    judge : callable
        (name, what was read) -> None where it equals what the whole input says, or the difference
        shows in a digest that someone compares; otherwise how it differs.
    expected : tuple of exception types, default InputError
        What a reader may refuse with.
    limits : Limits, optional
    apart : bool, default False
        Run the cases in a child, whose death is then a finding and not the end. The child is
        forked: import nothing before that does not survive it.
    named : callable, optional
        name -> a text that every refusal must hold, such as the file's name. Default: none.
    """
    pick = _picker(of, originals, mutate, seed)
    run = _Runner(read, judge, expected, limits, named or (lambda _: ""))
    tally = Tally(of, seed, count)
    ends = _in_children(pick, run, count) if apart else _here(pick, run, count)
    for case, (kind, text, seconds) in ends:
        tally.slowest = max(tally.slowest, seconds)
        if kind == "refused":
            tally.refused += 1
            tally.reasons[text] += 1
        elif kind == "equal":
            tally.equal += 1
        else:
            name, content = pick(case)
            tally.findings.append(Finding(kind, case, name, text, _save(of, seed, case, content)))
    return tally


def replay(of: str, *, read: Read, judge: Judge, **options: Any) -> Tally:
    """Try every input of the corpus of a reader; ``corpus/OF/NAME+anything`` is read as NAME."""
    files = sorted((CORPUS / of).iterdir())
    inputs = [(file.name.partition("+")[0], file.read_bytes()) for file in files]
    named = options.pop("named", None) or (lambda _: "")
    expected = options.pop("expected", (InputError,))
    run = _Runner(read, judge, expected, options.pop("limits", Limits()), named)
    tally = Tally(of, 0, len(inputs))
    for case, (name, content) in enumerate(inputs):
        kind, text, seconds = run(name, content)
        tally.slowest = max(tally.slowest, seconds)
        tally.refused += kind == "refused"
        tally.equal += kind == "equal"
        if kind not in ("refused", "equal"):
            tally.findings.append(Finding(kind, case, name, text, str(files[case])))
    return tally


def _picker(
    of: str, originals: Mapping[str, bytes], mutate: Mutate, seed: int
) -> Callable[[int], tuple[str, bytes]]:
    names = sorted(originals)

    def pick(case: int) -> tuple[str, bytes]:
        random = Random(f"{of} {seed} {case}")
        name = random.choice(names)
        return name, mutate(random, originals[name])

    return pick


@dataclass(frozen=True)
class _Runner:
    """Runs one case and says how it ended: (kind, text, seconds)."""

    read: Read
    judge: Judge
    expected: tuple[type[BaseException], ...]
    limits: Limits
    named: Callable[[str], str]

    def __call__(self, name: str, content: bytes) -> tuple[str, str, float]:
        start = time.monotonic()
        kind, text = self._end(name, content)
        return kind, text, time.monotonic() - start

    def _end(self, name: str, content: bytes) -> tuple[str, str]:
        try:
            with _time_limit(self.limits.seconds):
                value = self.read(name, content)
        except self.expected as error:
            return self._refusal(name, error)
        except _TimeUp:
            return "hang", f"longer than {self.limits.seconds:g} s"
        except MemoryError:
            return "memory", "more than it may take"
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            return "traceback", f"{type(error).__name__} at {place}: {str(error)[:300]}"
        differs = self.judge(name, value)
        return ("equal", "") if differs is None else ("accepted", differs[:300])

    def _refusal(self, name: str, error: BaseException) -> tuple[str, str]:
        text = str(error)
        if not text.isprintable():
            return "traceback", f"a message of several lines or with controls: {text[:300]!r}"
        if len(text) > _LONGEST_LINE:
            return "traceback", f"a message of {len(text)} characters: {text[:200]}"
        if self.named(name) not in text:
            return "traceback", f"a message that does not name {self.named(name)}: {text[:300]}"
        return "refused", text[:120]


_WAITING = 20
"""Times a limit of the processor's time that a reader may take by the clock: others work, too."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise where more time of the processor is taken, or many times that by the clock."""

    def ring(*_: object) -> None:
        raise _TimeUp

    timers = (
        (signal.SIGPROF, signal.ITIMER_PROF, seconds),
        (signal.SIGALRM, signal.ITIMER_REAL, _WAITING * seconds),
    )
    before = [signal.signal(number, ring) for number, *_ in timers]
    for _, timer, most in timers:
        signal.setitimer(timer, most)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


_Ends = Iterator[tuple[int, tuple[str, str, float]]]


def _here(pick: Callable[[int], tuple[str, bytes]], run: _Runner, count: int) -> _Ends:
    for case in range(count):
        yield case, run(*pick(case))


def _in_children(pick: Callable[[int], tuple[str, bytes]], run: _Runner, count: int) -> _Ends:
    """Yield how each case ended; a child that dies is followed by another, from the next case."""
    case = 0
    while case < count:
        reader, writer = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(pick, run, range(case, count), writer)
        os.close(writer)
        with os.fdopen(reader, "r", encoding="utf-8") as lines:
            for line in _lines_in_time(lines, pid, run.limits.seconds):
                kind, text, seconds = json.loads(line)
                yield case, (kind, text, seconds)
                case += 1
        _, status = os.waitpid(pid, 0)
        if case < count:
            yield case, (*_death(status), math.nan)
            case += 1


def _lines_in_time(lines: Any, pid: int, seconds: float) -> Iterator[str]:
    """Yield a child's lines; end it where none comes, which Python's own alarm cannot in C."""
    import threading

    for _ in iter(int, 1):
        watchdog = threading.Timer(_WAITING * seconds + 5, os.kill, (pid, signal.SIGKILL))
        watchdog.start()
        try:
            line = lines.readline()
        finally:
            watchdog.cancel()
        if not line.endswith("\n"):
            return
        yield line


def _child(
    pick: Callable[[int], tuple[str, bytes]], run: _Runner, cases: Sequence[int], writer: int
) -> None:
    code = 70
    try:
        _limit_memory(run.limits.memory_mib)
        with os.fdopen(writer, "w", encoding="utf-8") as out:
            for case in cases:
                out.write(json.dumps(run(*pick(case))) + "\n")
                out.flush()
        code = 0
    finally:
        os._exit(code)


def _limit_memory(mib: int | None) -> None:
    if mib is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _death(status: int) -> tuple[str, str]:
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        return "hang", "did not answer, and was killed"
    return "crash", f"the process ended with {code}"


def _save(of: str, seed: int, case: int, content: bytes) -> str:
    """Keep an input that was found, so that it can be tried again and join the corpus."""
    folder = Path(
        os.environ.get("SAMEBITS_FUZZ_FOUND", Path(tempfile.gettempdir(), "samebits-fuzz"))
    )
    (folder / of).mkdir(parents=True, exist_ok=True)
    path = folder / of / f"seed-{seed}-case-{case}"
    path.write_bytes(content)
    return str(path)
