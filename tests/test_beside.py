"""A second process makes calls while this one goes on, and ends with whoever started it."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from contextlib import closing

import pytest

from harness.digest import state_digests
from harness.faults.base import overriding
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import matrix_config
from harness.systems.beside import Beside, SecondProcess
from harness.systems.process import WorkerError
from harness.systems.protocol import Evaluation, digests_of
from harness.systems.spec import SystemSpec
from tests.test_worker import ODD, alive, gone


@pytest.fixture
def spec(tmp_path):
    return SystemSpec(f"{ODD}:Odd", root=str(tmp_path))


@pytest.fixture
def beside(spec):
    with closing(Beside(spec, {})) as found:
        yield found


def asked(deed):
    """Return a job that asks a system of its own for one deed."""
    return lambda make: make().recalibrate(deed).batch_hash


def sleeping(beside, folder):
    """Submit a job that would take a minute; return it, and the process that is in its call."""
    job, file = beside.submit(lambda make: make().train(1)), folder / "pid"
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return job, int(file.read_text())


def test_jobs_share_one_other_process_with_another_hash_seed(monkeypatch, beside):
    monkeypatch.setenv("PYTHONHASHSEED", "5")
    first, second = (beside.submit(asked("pid and seed")) for _ in range(2))
    assert first.result() == second.result()
    pid, seed = first.result().split()
    assert int(pid) != os.getpid()
    assert seed == "6"


def test_a_job_that_raises_fails_alone(beside):
    before, failing, after = (beside.submit(asked(d)) for d in ("pid and seed", "value", "again"))
    with pytest.raises(ValueError, match="frame 3 is bad"):
        failing.result()
    assert after.result() == "None"
    assert beside.submit(asked("pid and seed")).result() == before.result()


def test_a_process_that_crashed_fails_its_job_and_is_started_anew_for_the_next(beside):
    before, failing, after = (
        beside.submit(asked(d)) for d in ("pid and seed", "segv", "pid and seed")
    )
    with pytest.raises(WorkerError, match=r"recalibrate\(\) of .* ended by signal SIGSEGV, exp"):
        failing.result()
    assert before.result() != after.result()


def test_a_process_that_was_killed_between_jobs_is_started_anew(beside):
    pid = int(beside.submit(asked("pid and seed")).result().split()[0])
    os.kill(pid, 9)
    # Until all of its threads are gone: before, it is a zombie that its parent cannot know of.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert beside.submit(asked("again")).result() == "None"


def test_what_a_job_leaves_open_is_closed_after_it(spec, beside):
    def left(make):
        system = make()
        system.open({"name": "one"})
        return system

    system = beside.submit(left).result()
    assert beside.submit(lambda _: system.describe().options[0][0][1]).result() == "None"


def test_closing_ends_process_and_thread_in_the_middle_of_a_call(beside, tmp_path):
    job, pid = sleeping(beside, tmp_path)
    later = beside.submit(asked("again"))
    assert alive(pid)
    assert not job.done()  # this process went on meanwhile
    begun = time.monotonic()
    beside.close()
    assert time.monotonic() - begun < 10
    assert gone(pid, seconds=0)
    with pytest.raises(WorkerError, match="the second process was closed"):
        job.result(timeout=0)
    with pytest.raises(CancelledError):
        later.result(timeout=0)
    with pytest.raises(WorkerError, match="the second process was closed"):
        beside.submit(asked("again"))


def test_no_process_is_started_once_closed(spec):
    process, running, closed = SecondProcess(), threading.Event(), threading.Event()

    def late():
        running.set()
        closed.wait(timeout=60)
        return process.worker(spec)

    job = process.submit(late)
    assert running.wait(timeout=60)
    threading.Timer(0.2, closed.set).start()
    process.close()
    with pytest.raises(WorkerError, match="the second process was closed"):
        job.result(timeout=0)


def test_a_shared_process_outlives_whoever_gives_up_a_job(spec, tmp_path):
    with closing(SecondProcess()) as process:
        one, other = (Beside(spec, {}, process) for _ in range(2))
        pid = one.submit(asked("pid and seed")).result()

        begun = threading.Event()

        def endless(make):
            system = make()
            while system.recalibrate("again"):
                begun.set()

        job = one.submit(endless)
        assert begun.wait(timeout=60)
        one.close()
        with pytest.raises(WorkerError, match="the second process was closed"):
            job.result(timeout=60)
        assert other.submit(asked("pid and seed")).result() == pid


def test_a_fault_of_a_foreign_system_is_wrapped_around_it(spec):
    broken = SystemSpec(spec.system, "tests.test_beside:Renamed", {"name": "n"}, spec.root)
    with closing(Beside(broken, {})) as beside:
        assert beside.submit(lambda make: make().describe()).result() == "n"


class Renamed:
    def __init__(self, name):
        self.name = name

    def wrap(self, system):
        system.describe = lambda: self.name
        return system


SCRIPT = """
import os, sys
from harness.systems.beside import Beside
from harness.systems.spec import SystemSpec
beside = Beside(SystemSpec(sys.argv[1], root=sys.argv[2]), {})
print(beside.submit(lambda make: make().describe().version.split()[0]).result(), flush=True)
beside.submit(lambda make: make().train(1))
while not os.path.exists(sys.argv[2] + "/pid"):
    pass
if sys.argv[3] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("how", "code"), [("killed", -9), ("forgotten", 0)])
def test_it_ends_with_this_process(spec, how, code):
    command = [sys.executable, "-c", SCRIPT, spec.system, spec.root, how]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (found.returncode, found.stderr) == (code, "")
    assert gone(int(found.stdout))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    write_dataset(folder / "data", train=7, val=5, height=29, width=43)
    tree = matrix_config(folder / "data").model_dump(mode="json", by_alias=True)
    tree["runtime"]["onednn"] = False  # what this process has not, and none inherits
    return tree


@pytest.fixture(scope="module")
def builtin():
    with closing(SecondProcess()) as process:
        yield process


def scored(config, process, fault=""):
    """Return the builtin system's scores in a shared process, and that process's id."""

    def job(make):
        system = make()
        system.open(config)
        return system.evaluate(["012012012"]), process.worker(spec).pid

    spec = SystemSpec(fault=fault)
    return Beside(spec, config, process).submit(job).result()


@pytest.mark.slow
def test_a_fault_of_builtin_is_planted_there_and_leaves_with_its_jobs(config, builtin):
    before, first = scored(config, builtin)
    broken, second = scored(config, builtin, "harness.faults.metric:EpeBroadcast")
    again, third = scored(config, builtin)
    assert isinstance(before, Evaluation)
    assert before == again
    assert before.archs == broken.archs
    assert before.per_arch_epe != broken.per_arch_epe
    assert first == second == third  # what it compiled is still there


@pytest.mark.slow
def test_digests_of_builtin_s_state_are_computed_where_it_lies(config, builtin):
    def job(make):
        system = make()
        system.open(config)
        state, system.state = system.state(), None
        return state, digests_of(system)

    state, digests = Beside(SystemSpec(), config, builtin).submit(job).result()
    assert digests == state_digests(state)
    assert len(digests) == len(state) > 100


@pytest.mark.slow
def test_a_fault_that_lies_about_the_state_lies_in_its_digests(config, builtin):
    spec = SystemSpec(fault="tests.test_beside:EmptyState")
    job = Beside(spec, config, builtin).submit(digests_of_opened(config))
    assert job.result() == {}


def digests_of_opened(config):
    def job(make):
        system = make()
        system.open(config)
        return digests_of(system)

    return job


class EmptyState:
    def wrap(self, system):
        return overriding(system, state=lambda _: {})
