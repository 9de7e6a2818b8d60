"""What benchmarks hold ours against: what is read, what is computed, and how ratios are made."""

import sys

import pytest

from benchmarks.dense import stages_before
from benchmarks.plain_reader import plain_reader
from benchmarks.real import Evaluations, Spent, rows
from harness.config import parse_config, with_fc2_root
from harness.fc2.provider import open_provider
from harness.fc2.synthetic import write_dataset
from harness.supernet.space import SKELETONS


def spent(cold: float, steady: float, slow: float = 9) -> Spent:
    times = [tuple({"wall": s * f, "cpu": s} for f in (0.5, slow, 1)) for s in (cold, steady)]
    return Spent(*times, scores=())


def test_the_plain_reader_serves_the_evaluation_s_pixels(tmp_path):
    write_dataset(tmp_path, train=1, val=5, height=24, width=41)
    tree = {
        "data": {"input_height": 16, "input_width": 32},
        "train": {"batch_size": 2, "micro_batch_size": 2},
    }
    provider = open_provider(with_fc2_root(parse_config(tree), tmp_path), "val", "eval")
    ours = [provider.batch(1, index) for index in range(3)]
    plain = plain_reader(tmp_path / "val", (16, 32), 2, 3)()
    assert [batch.size for batch in plain] == [2, 2, 1]
    for one, other in zip(plain, ours, strict=True):
        assert (one.frames == other.frames).all()
        assert (one.flow == other.flow).all()
    clipped = plain_reader(tmp_path / "val", (16, 32), 2, 1, clip=0.5)()
    assert (clipped[0].flow == ours[0].flow.clip(-0.5, 0.5)).all()
    assert abs(ours[0].flow).max() > 0.5


def test_the_last_residual_needs_no_head_of_another_scale():
    plan = SKELETONS["full"]
    names = set(stages_before(plan, plan.outputs[-1]))
    assert {stage.name for stage in plan.stages} - names == {"H0Out", "H1", "H1Out"}


def test_ratios_are_of_medians_and_say_what_they_are_held_to():
    seconds = {"real": spent(20, 18, slow=2), "dense": spent(21, 15), "ours": spent(5.5, 3)}
    found = {row.name: row for row in rows(seconds | {"space": spent(30, 27)})}
    said = {name: (round(row.value, 3), row.holds) for name, row in found.items()}
    assert said == {
        "dense reference over real, start to result": (1.05, True),
        "dense reference over real, steady state": (0.833, False),
        "12 archs, real over ours, start to result": (3.636, False),
        "12 archs, real over ours, steady state": (6.0, True),
        "19,683 archs, ours over real 12, start to result": (1.5, True),
        "19,683 archs, ours over real 12, steady state": (1.5, True),
    }
    lines = [row.line() for row in found.values()]
    assert "1.050 (for comparison); 21.00 s over 20.00 s" in lines[0]
    assert "0.833 (at least 0.9 and at most 1.1); 15.00 s over 18.00 s" in "".join(lines)
    assert "(at least 4)" in lines[1]
    assert "(at most 1.6)" in lines[2]
    assert lines[-1].endswith("1.500 (for comparison); 27.00 s over 18.00 s")


def test_a_process_that_fails_is_told_with_its_last_words(tmp_path):
    bare = object.__new__(Evaluations)
    bare.folder = tmp_path
    task = {"do": "dense", "run": str(tmp_path / "none"), "out": str(tmp_path / "out.json")}
    with pytest.raises(RuntimeError, match=r"in_process: exit code 1; (.|\n)*none/config\.yaml"):
        bare._process(sys.executable, "benchmarks.in_process", task)
