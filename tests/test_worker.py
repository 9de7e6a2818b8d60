import ast
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.errors import NotApplicableError, one_line
from harness.systems import worker as worker_file
from harness.systems.answers import AnswerError, answer
from harness.systems.opening import system_factory
from harness.systems.process import WorkerError
from harness.systems.remote import RemoteError, Workers
from harness.systems.spec import SystemSpec, target_of

ODD = Path(__file__).with_name("odd_system.py")
FILE = Path(worker_file.__file__)


@pytest.fixture
def odd():
    """Return a function that makes an odd system; its worker ends with the test."""
    workers = Workers()

    def make(**options):
        return system_factory(SystemSpec(f"{ODD}:Odd", **options), workers)()

    yield make
    workers.close()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid, seconds=10):
    """Return whether a process ends within a time."""
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def pid_of(system):
    return int(system.describe().version.split()[0])


def test_the_worker_file_runs_on_python_3_7():
    tree = ast.parse(FILE.read_text(encoding="utf-8"), feature_version=(3, 7))
    imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import)
                for a in n.names}  # fmt: skip
    imported |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert "harness" not in imported
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


def test_systems_share_one_process_and_keep_their_own_state(odd):
    first, second = odd(), odd()
    first.open({"name": "one"})
    second.open({"name": "two"})
    names = [system.describe().options[0][0][1] for system in (first, second)]
    assert names == ["one", "two"]
    assert pid_of(first) == pid_of(second) != os.getpid()


def test_a_closed_system_is_forgotten(odd):
    system = odd()
    system.open({"name": "one"})
    system.close()
    assert system.describe().options[0][0][1] == "None"


def test_root_is_given_to_the_class_alone(odd, tmp_path):
    described = odd(root=str(tmp_path)).describe()
    assert described.name == str(tmp_path)
    assert str(tmp_path) not in described.options[0][1]


def test_the_harness_does_not_come_along_by_accident(odd, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    path = odd().describe().options[0][1]
    assert path[0] == str(ODD.parent)
    assert str(FILE.parent) not in path
    assert str(FILE.parents[1]) not in path


def test_what_a_system_prints_does_not_reach_the_harness(odd, capfd):
    system = odd()
    assert system.recalibrate("noise").batch_hash == "None"
    assert system.recalibrate("again").arch == "again"
    assert capfd.readouterr().out == ""
    with pytest.raises(WorkerError) as caught:
        system.recalibrate("exit")
    for printed in ("printed while it was imported", "print\n", "dunder", "from C", "from a child"):
        assert printed in str(caught.value)


ENDINGS = {
    "exit": "recalibrate() of system {!r}: its process ended with exit code 7, expected an answer",
    "segv": "recalibrate() of system {!r}: its process ended by signal SIGSEGV, expected an answer",
    "garbage": "recalibrate() of system {!r}: expected a frame of the worker, found b'garb",
}


@pytest.mark.parametrize("deed", ENDINGS)
def test_an_end_is_one_plain_error_with_the_log(odd, deed):
    system = odd()
    with pytest.raises(WorkerError) as caught:
        system.recalibrate(deed)
    text = str(caught.value)
    assert text.startswith(ENDINGS[deed].format(f"{ODD}:Odd"))
    assert "End of the worker's log:\nprinted while it was imported" in text
    with pytest.raises(
        WorkerError, match=r"describe\(\) of system .*: its process ended before: recal"
    ):
        system.describe()
    assert pid_of(odd()) != os.getpid()  # whoever comes later has a process of its own


def test_a_call_has_a_time_limit(odd):
    system = odd(timeout=1.5)
    pid, begun = pid_of(system), time.monotonic()
    with pytest.raises(WorkerError, match=r"recalibrate\(\) .* took longer than 1.5 s, expected"):
        system.recalibrate("sleep")
    assert time.monotonic() - begun < 10
    assert gone(pid)


def test_an_exception_keeps_its_name_its_text_and_its_kind(odd):
    system = odd()
    with pytest.raises(ValueError, match="frame 3") as caught:
        system.recalibrate("value")
    assert type(caught.value).__name__ == "HarshError"
    assert str(caught.value) == "frame 3 is bad\nand a second line"
    assert "in recalibrate() of system" in caught.value.__notes__[0]
    with pytest.raises(KeyError) as key:
        system.recalibrate("key")
    assert str(key.value) == "'w'"
    with pytest.raises(Exception, match="3") as ended:
        system.recalibrate("system exit")
    assert type(ended.value).__name__ == "SystemExit"
    with pytest.raises(NotApplicableError, match="this version has no statistics"):
        system.recalibrate("absent")
    assert system.recalibrate("fine").arch == "fine"  # none of them ended the process


def test_memory_that_does_not_suffice_names_the_process_that_wanted_it(odd):
    system = odd()
    with pytest.raises(RemoteError) as caught:
        system.recalibrate("memory")
    told = one_line(caught.value)
    assert f"out of memory (pid {pid_of(system)}): no " in told
    assert "for a tensor of shape [7,9] and type half" in told


ANSWERS = {
    "unknown": r"recalibrate\(\): unknown field 'extra', expected only arch, stats, inputs, batch",
    "no field": r"recalibrate\(\): no field 'stats', expected arch, stats, inputs, batch_hash",
    "type": r"recalibrate\(\)\.batch_hash: expected str, found int 3",
    "dtype": r"\.stats\['unit'\]\[0\]: expected an array of float32, found an array of float64 and",
    "count": r"\.stats\['unit'\]: expected 2 items, found list",
    "nothing": r"recalibrate\(\): expected the fields of Recalibration, found NoneType None",
}


@pytest.mark.parametrize("deed", ANSWERS)
def test_a_wrong_answer_is_named_by_call_and_field(odd, deed):
    with pytest.raises(AnswerError, match=ANSWERS[deed]):
        odd().recalibrate(deed)


@pytest.mark.parametrize(
    ("deed", "what"), [("unsendable", "a bytes"), ("object", "an array of dtype object")]
)
def test_an_answer_that_cannot_be_sent_is_named(odd, deed, what):
    with pytest.raises(WorkerError, match=rf"recalibrate\(\)\.result\.inputs.* cannot send {what}"):
        odd().recalibrate(deed)


def test_numbers_that_are_not_finite_arrive_as_they_are(odd):
    found = odd().evaluate()
    assert math.isnan(found.per_arch_epe[0])
    assert found.per_sample["a"][1] == math.inf
    assert found.mean_epe == float(np.float32(0.1))
    assert (found.zero_flow_epe, type(found.zero_flow_epe)) == (1.0, float)
    assert found.stats_digest == ""


def test_a_call_that_is_not_there_says_so(odd):
    with pytest.raises(AttributeError, match="'Odd' object has no attribute 'predict'"):
        odd().predict("a", None)


LOADING = {
    f"{ODD}:Nobody": "AttributeError: no class 'Nobody' in .*odd_system.py, found .*Odd, Needy",
    "no_such_module:System": "ModuleNotFoundError: No module named 'no_such_module'; install",
}


@pytest.mark.parametrize("name", LOADING)
def test_what_cannot_be_loaded_is_named(name):
    workers = Workers()
    with pytest.raises(WorkerError, match="cannot be loaded by .*Python 3.*" + LOADING[name]):
        system_factory(SystemSpec(name), workers)().describe()
    workers.close()


def test_a_package_that_is_missing_is_named():
    workers = Workers()
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        system_factory(SystemSpec(f"{ODD}:Needy"), workers)().describe()
    workers.close()


@pytest.mark.parametrize(
    ("python", "text"),
    [("/no/such/python", "expected a Python interpreter, found: "),
     ("/bin/true", "ended with exit code 0, expected Python 3.7 or newer with NumPy and an answ")],
)  # fmt: skip
def test_an_interpreter_that_is_none_is_named(odd, python, text):
    with pytest.raises(WorkerError, match=text):
        odd(python=python).describe()


@pytest.mark.parametrize("name", ["builtn", "a:b:c", "no/such/file.py:System", ":System", "m:"])
def test_a_name_of_no_known_form_is_refused(name):
    with pytest.raises(ValueError, match=r"--system '.*': expected"):
        system_factory(SystemSpec(name))


def test_a_root_that_is_no_folder_is_refused():
    with pytest.raises(ValueError, match="--system-root nowhere: expected a folder"):
        system_factory(SystemSpec(f"{ODD}:Odd", root="nowhere"))


def test_the_edgeflownas_adapter_is_a_package_beside_the_builtin():
    expected = f"{FILE.parent / 'edgeflownas' / '__init__.py'}:EdgeFlowNAS"
    assert target_of(SystemSpec("edgeflownas")) == (expected, [])  # no folder goes on sys.path


def test_a_copy_that_a_system_forks_says_nothing(odd):
    system = odd()
    assert system.recalibrate("fork").batch_hash == "the parent"
    time.sleep(0.3)
    assert system.recalibrate("fork").batch_hash == "the parent"


def test_what_cannot_be_made_an_array_is_told_and_ends_nothing(odd):
    system = odd()
    with pytest.raises(WorkerError, match=r"cannot be made an array: requires grad"):
        system.recalibrate("unconvertible")
    assert pid_of(system)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, None), ("lr is 0.2", ["lr is 0.2"]), (["a", "b"], ["a", "b"]), (("a",), ["a"]),
        ([], []), (object(), None), ([1], None), ({"a": 1}, None), (3, None),
    ],
)  # fmt: skip
def test_of_what_a_restore_returns_texts_alone_are_told(returned, told):
    assert worker_file._notes(returned) == told
    assert answer("restore", told) == told


def test_an_error_without_a_text_is_an_error(odd):
    with pytest.raises(Exception, match=r"its text cannot be made: ZeroDivisionError"):
        odd().recalibrate("no text")


def test_closing_ends_the_worker_and_its_children(odd):
    system = odd()
    pid, child = pid_of(system), int(system.recalibrate("child").batch_hash)
    assert alive(child)
    system._lend().close()
    assert gone(pid)
    assert gone(child)


SCRIPT = """
import os, sys
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec
system = system_factory(SystemSpec(sys.argv[1]), Workers())()
print(system.describe().version.split()[0], flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_worker_ends_with_the_harness():
    command = [sys.executable, "-c", SCRIPT, f"{ODD}:Odd"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == -9, found.stderr
    assert gone(int(found.stdout))


def test_the_harness_s_side_of_a_foreign_system_loads_no_tensorflow():
    code = (
        "import sys, harness.systems.beside, harness.systems.remote\n"
        "print(sorted({'tensorflow', 'cv2', 'scipy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_fault_of_builtin_parts_stays_in_this_process():
    spec = SystemSpec("builtin", "harness.faults.metric:LastResidualOnly", python=sys.executable)
    with pytest.raises(ValueError, match="is planted under this interpreter alone"):
        system_factory(spec)
