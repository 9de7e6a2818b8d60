"""The kill matrix judges each system in a worker process."""

import os
from contextlib import closing

import pytest

from harness.faults.matrix import JudgeProcess, Task
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import matrix_config


class Ending:
    """A fault that ends the process."""

    def __init__(self, code):
        self.code = code

    def apply(self, parts):
        print("the last words")  # noqa: T201
        os._exit(self.code)


def task(folder, fault, **arguments):
    write_dataset(folder / "data", train=7, val=5, height=29, width=43)
    config = matrix_config(folder / "data").model_dump(mode="json", by_alias=True)
    return Task("broken", fault, arguments, ("metric-oracle", "drawn-as-served"), config=config)


@pytest.mark.slow
def test_a_process_that_ends_is_told_with_its_fault_and_its_log(tmp_path):
    ending = task(tmp_path, f"{__name__}:Ending", code=3)
    with closing(JudgeProcess(tmp_path)) as process:
        with pytest.raises(RuntimeError, match=r"a worker ended on broken: .* exit code 3") as told:
            process.judge(ending, 1)
        assert "the last words" in str(told.value)
        with pytest.raises(RuntimeError, match=r"a worker ended on broken: .* ended before"):
            process.judge(ending, 2)


@pytest.mark.slow
def test_a_system_is_judged_and_its_folder_removed(tmp_path):
    broken = task(tmp_path, "harness.faults.metric:EpeBroadcast")
    with closing(JudgeProcess(tmp_path)) as process:
        found = process.judge(broken, 1)
    assert list(found.fired) == ["metric-oracle"]
    assert found.absent == {}
    assert not list(tmp_path.glob("task-*"))
