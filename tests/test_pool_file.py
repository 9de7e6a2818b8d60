"""A pool that is named by a file is exactly what the file says, or refused by its entry."""

import json

import numpy as np
import pytest

from harness.commands.evaluate import asked_pool
from harness.config import Config
from harness.errors import InputError
from harness.evaluation.pool_file import read_pool
from harness.supernet.space import check_arch

POOL = ((0, 1, 2) * 3, (2,) * 9, (1, 0, 0, 2, 1, 0, 0, 2, 1))
LISTS = [list(arch) for arch in POOL]
TEXTS = ["012012012", "2,2,2,2,2,2,2,2,2", "100-210-021"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pool.json"


@pytest.mark.parametrize(
    "content",
    [
        LISTS, TEXTS, {"archs": TEXTS, "mean_epe_12": 2.5}, {"pool": LISTS},
        {"pool": LISTS, "coverage": [[4, 4, 4]], "seed": 42},
    ],
    ids=["lists", "texts", "our own result", "EdgeFlowNAS's", "EdgeFlowNAS's with more"],
)  # fmt: skip
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a mark"])
def test_what_the_file_says_is_scored(path, content, mark):
    path.write_bytes(mark + json.dumps(content).encode())
    assert read_pool(path) == POOL


def with_code(code):
    return [LISTS[0], [code, *LISTS[1][1:]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            with_code(0.9),
            "entry 2: expected 9 whole numbers from 0 to 2, or a text of as many digit",
        ),
        (with_code(2.0), "entry 2: expected 9 whole numbers from 0 to 2"),
        (with_code(True), "entry 2: expected 9 whole numbers from 0 to 2"),
        (with_code(None), "entry 2: expected 9 whole numbers from 0 to 2"),
        (with_code("2"), "entry 2: expected 9 whole numbers from 0 to 2"),
        (with_code(3), "entry 2: expected 9 whole numbers from 0 to 2"),
        (with_code(-1), "entry 2: expected 9 whole numbers from 0 to 2"),
        (with_code([2]), "entry 2: expected 9 whole numbers from 0 to 2"),
        ([LISTS[0], LISTS[1][1:]], "entry 2: expected 9 whole numbers from 0 to 2"),
        (["012012012", "22222222"], "entry 2: expected 9 whole numbers"),
        (["012012012", "\N{ARABIC-INDIC DIGIT TWO}" * 9], "entry 2: expected 9 whole numbers"),
        (["012012012", 222222222], "entry 2: expected 9 whole numbers"),
        (
            [*LISTS, "012 012 012"],
            "entry 4: '012 012 012' is entry 1 too; each arch is scored once",
        ),
        ([LISTS], "entry 1: expected 9 whole numbers"),
        ([], "expected a list of arch codes, or an object with one as archs or pool, found []"),
        ({}, "expected a list of arch codes, or an object with one as archs or pool, found {}"),
        ({"pool": LISTS, "archs": TEXTS}, "expected a list of arch codes, or an object with one"),
        (12, "expected a list of arch codes"),
        ("012012012", "expected a list of arch codes"),
    ],
)
def test_what_is_no_arch_is_refused_by_its_entry(path, content, message):
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        read_pool(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[[{'9' * 400}, 0, 0, 0, 0, 0, 0, 0, 0]]", "the whole number of 400 digits is beyond"),
        ("[[1e999, 0, 0, 0, 0, 0, 0, 0, 0]]", "the number 1e999 is beyond what a float holds"),
        ("[[NaN, 0, 0, 0, 0, 0, 0, 0, 0]]", "NaN is no number of JSON"),
        (
            '{"pool": [], "pool": [[0, 0, 0, 0, 0, 0, 0, 0, 0]]}',
            "the key 'pool' stands there twice",
        ),
        ("[" * 5000, "nested deeper than"),
        ("012012012\n", "Extra data"),
        ("", "Expecting value"),
    ],
    ids=["digits", "infinity", "nan", "twice", "deep", "lines", "empty"],
)
def test_what_is_no_json_is_refused_with_the_reason(path, text, message):
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_pool(path)
    assert str(caught.value).startswith(f"{path}: expected a JSON list of arch codes: {message}")


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="not readable as a pool"):
            read_pool(path)


def test_a_pool_that_is_no_file_is_told_what_a_pool_may_be(tmp_path):
    wanted = "nowhere: no such file; expected a number of archs, all, or a file of arch codes"
    with pytest.raises(InputError, match=f"^--pool {tmp_path}/{wanted}$"):
        asked_pool(f"{tmp_path}/nowhere", Config())


def test_an_arch_of_numpy_is_one_and_of_fractions_is_none():
    assert check_arch(np.array(POOL[0])) == POOL[0]
    for wrong in (np.array(POOL[0]) + 0.5, [True, *POOL[0][1:]], np.array(POOL[0]) > 0):
        with pytest.raises(ValueError, match="9 codes of 0, 1 or 2"):
            check_arch(wrong)
