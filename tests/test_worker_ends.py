"""How a worker ends: with what it started, within its limits, and after any bytes in one line."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.asked import named_system
from harness.systems.answers import AnswerError, answer
from harness.systems.ending import ended_how, log_tail, memory_mib
from harness.systems.opening import system_factory
from harness.systems.process import Worker, WorkerError
from harness.systems.remote import Workers
from harness.systems.spec import MACHINE_MIB, SystemSpec
from harness.systems.worker import MAGIC, PREFIX, pack
from tests.test_worker import ODD, alive, gone, pid_of


@pytest.fixture
def odd() -> Iterator[Callable[..., Any]]:
    """Return a function that makes an odd system; its worker ends with the test."""
    workers = Workers()

    def make(**options: Any) -> Any:
        return system_factory(SystemSpec(f"{ODD}:Odd", **options), workers)()

    yield make
    workers.close()


# ---- with what it started


@pytest.mark.parametrize("deed", ["segv", "exit", "garbage", "sleep"])
def test_a_child_of_a_worker_ends_with_it(deed: str, odd: Callable[..., Any]) -> None:
    system = odd(timeout=1.5)
    child = int(system.recalibrate("child").batch_hash)
    assert alive(child)
    with pytest.raises(WorkerError):
        system.recalibrate(deed)
    assert gone(child)


SCRIPT = """
import os, sys, threading, time
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec
system = system_factory(SystemSpec(sys.argv[1]), Workers())()
print(system.describe().version.split()[0], system.recalibrate("child").batch_hash, flush=True)
threading.Thread(target=system.recalibrate, args=[sys.argv[2]], daemon=True).start()
time.sleep(0.5)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("deed", ["sleep", "stuck"])
def test_a_worker_and_its_child_end_with_the_harness_in_the_middle_of_a_call(deed: str) -> None:
    command = [sys.executable, "-c", SCRIPT, f"{ODD}:Odd", deed]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == -9, found.stderr
    assert [gone(int(pid)) for pid in found.stdout.split()] == [True, True]


def test_an_interrupted_call_ends_the_worker_and_blames_nobody(odd: Callable[..., Any]) -> None:
    system = odd()
    pid, begun = pid_of(system), time.monotonic()
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        system.recalibrate("sleep")
    system.close()  # says nothing to it
    assert gone(pid)
    assert time.monotonic() - begun < 10
    with pytest.raises(WorkerError, match=r"ended before: recalibrate\(\) was interrupted"):
        system.describe()


def test_a_large_request_to_a_process_that_has_ended_is_answered_at_once(
    odd: Callable[..., Any],
) -> None:
    system = odd(timeout=60)
    os.kill(pid_of(system), signal.SIGKILL)
    begun = time.monotonic()
    with pytest.raises(WorkerError, match=r"ended by signal SIGKILL \(where nobody sent that, the"):
        system.state({"x": np.zeros(2**22, np.float32)})
    assert time.monotonic() - begun < 20


# ---- within its limits


@pytest.mark.slow
def test_a_call_has_a_limit_of_memory(odd: Callable[..., Any]) -> None:
    system = odd(memory_mib=1024.0)
    pid = pid_of(system)
    least = memory_mib(pid)
    assert 5 < least < 200
    small = odd(memory_mib=least + 20)  # the same worker: the first one's limit counts
    assert small.recalibrate("mapped").batch_hash == "0"
    workers = Workers()
    hoarder = system_factory(SystemSpec(f"{ODD}:Odd", memory_mib=least + 20), workers)()
    try:
        assert hoarder.recalibrate("mapped").batch_hash == "0", "mapped files are no own memory"
        with pytest.raises(WorkerError) as caught:
            hoarder.recalibrate("hoard")
    finally:
        workers.close()
    first = str(caught.value).splitlines()[0]
    assert f"expected at most {least + 20:.0f} MiB; it was ended" in first
    assert "--system-memory" in first


def test_the_limits_are_asked_for_in_seconds_and_mib() -> None:
    assert named_system("builtin").memory_mib == MACHINE_MIB > 100
    found = named_system("builtin", timeout="5", memory="2048")
    assert (found.timeout, found.memory_mib) == (5.0, 2048.0)
    for text in ("0", "-1", "nan", "inf", "1e400", "much"):
        with pytest.raises(ValueError, match=r"--system-memory: expected a number, above 0, up to"):
            named_system("builtin", memory=text)
        with pytest.raises(ValueError, match=r"--system-timeout: expected a number, above 0, up"):
            named_system("builtin", timeout=text)


def test_of_a_log_the_end_is_read_however_long_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(2**36)  # 64 GiB of holes
        file.seek(0, os.SEEK_END)
        file.write(b"\xa9 cut" + "é".encode() * 3000)
    assert log_tail(str(log)) == "é" * 2000
    log.write_text("short")
    assert log_tail(str(log)) == "short"


def test_every_ending_has_words() -> None:
    assert ended_how(3) == "with exit code 3"
    assert ended_how(-signal.SIGSEGV) == "by signal SIGSEGV"
    assert ended_how(-40) == "by signal 40"


# ---- after any bytes


HELLO = b"".join(pack({"hello": {"python": "3.11", "executable": "x", "array": np.ones((2, 3))}}))


def said(folder: Path, content: bytes) -> Worker:
    """Start a process that says some bytes, and ends."""
    (folder / "bytes").write_bytes(content)
    script = folder / "python"
    script.write_text(f"#!/bin/sh\nexec cat '{folder / 'bytes'}'\n")
    script.chmod(0o755)
    return Worker(SystemSpec("m:C", python=str(script), timeout=20))


def require_an_answer_or_one_line(folder: Path, content: bytes) -> str:
    worker = said(folder, content)
    try:
        assert isinstance(worker.about, dict)
        worker.ask("train()", {})
    except WorkerError as error:
        first = str(error).splitlines()[0]
        assert first.startswith(("starting of system 'm:C': ", "train() of system 'm:C': "))
        assert len(first) < 700
        return first
    finally:
        worker.close()
    return ""


def frame(text: bytes, *payloads: bytes) -> bytes:
    return PREFIX.pack(MAGIC, len(text)) + text + b"".join(payloads)


def of_json(value: Any, sizes: Any = ()) -> bytes:
    return frame(json.dumps({"body": value, "sizes": sizes}).encode())


def of_array(header: bytes, content: bytes = b"") -> bytes:
    """Return a frame of one array with a header of its own."""
    text = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    payload = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content
    body = {"body": {"hello": {"$array": 0}}, "sizes": [len(payload)]}
    return frame(json.dumps(body).encode(), payload)


def shaped(shape: str, dtype: str = "'<f4'") -> bytes:
    return b"{'descr': %s, 'fortran_order': False, 'shape': %s}" % (dtype.encode(), shape.encode())


LIES = {
    "nothing": b"",
    "another magic": b"sb2\n" + HELLO[4:],
    "a header of 4 GB": PREFIX.pack(MAGIC, 2**32 - 1) + b"{",
    "no JSON": frame(b"\xff\xfe"),
    "nested without end": frame(b"[" * 100_000),
    "no frame": frame(b"[]"),
    "no sizes": frame(b'{"body": 1}'),
    "sizes that are none": of_json(1, "many"),
    "a negative size": of_json(1, [-5]),
    "an infinite size": frame(b'{"body": 1, "sizes": [1e999]}'),
    "a size of a petabyte": of_json(1, [2**50]),
    "a number": of_json(7),
    "an array that is not there": of_json({"hello": {"$array": 3}}),
    "a scalar of no type": of_json({"hello": {"$scalar": "zz", "value": 1}}),
    "items that are no pairs": of_json({"hello": {"$items": [1, 2]}}),
    "fields that are none": of_json({"hello": {"$object": "A", "fields": 5}}),
    "another hello": of_json({"hello": [1]}),
    "a shape of a terabyte": of_array(shaped("(1000000, 1000000)"), b"1234"),
    "a shape beyond 64 bits": of_array(shaped("(4294967296, 4294967296, 4)"), b""),
    "a negative side": of_array(shaped("(-1, -4)"), b"1" * 16),
    "a shape of text": of_array(shaped("'x'")),
    "objects": of_array(shaped("(1,)", "'|O'"), b"\x80\x04N."),
    "code for a header": of_array(b"__import__('os').abort()"),
    "a reply to another": HELLO + of_json({"number": 9, "result": 1}),
    "a reply of nothing": HELLO + of_json({"number": 1}),
    "an error of nothing": HELLO + of_json({"number": 1, "error": {"name": 3}}),
    "a reply that is cut": HELLO + of_json({"number": 1, "result": 1})[:-3],
}


@pytest.mark.parametrize("lie", LIES)
def test_bytes_that_lie_are_answered_in_one_line(lie: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert require_an_answer_or_one_line(tmp_path, LIES[lie])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


@settings(max_examples=60,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_a_garbled_frame_is_answered_in_one_line(data: st.DataObject, tmp_path: Path) -> None:
    whole = HELLO + of_json({"number": 1, "result": {"$float": "nan"}})
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    require_an_answer_or_one_line(tmp_path, bytes(content[:cut] if cut % 3 else content))


def test_a_number_that_no_float_holds_is_named() -> None:
    with pytest.raises(AnswerError, match=r"score\(\): expected an array, found int 9999"):
        answer("score", 10**400 - 1)
    with pytest.raises(AnswerError, match=r"mean_epe: expected float of at most 1\.8e308, found"):
        answer(
            "evaluate",
            {"archs": ["a"], "per_arch_epe": [1.0], "per_sample": {"a": [1.0]},
             "mean_epe": 10**400, "zero_flow_epe": 1.0, "eval_batch_hash": ""},
        )  # fmt: skip
