"""How errors, counts and digests are written for people."""

import re
import tomllib

import pytest

from harness.errors import full_text, one_line, plain_line
from harness.wording import counted, install, quoted, shortened
from tests.documented import ROOT


@pytest.mark.parametrize(
    ("number", "what", "text"),
    [
        (1, "epoch", "1 epoch"), (2, "epoch", "2 epochs"), (0, "batch", "0 batches"),
        (3, "loss", "3 losses"), (2, "hash", "2 hashes"), (2, "sample score", "2 sample scores"),
    ],
)  # fmt: skip
def test_a_count_has_the_ending_of_its_number(number, what, text):
    assert counted(number, what) == text


def test_what_no_ending_makes_plural_is_given():
    assert counted(1, "promise holds", "promises hold") == "1 promise holds"
    assert counted(2, "promise holds", "promises hold") == "2 promises hold"


@pytest.mark.parametrize("extra", ["tensorflow", "tensorboard", "cluster"])
def test_an_extra_is_installed_from_the_clone_and_is_one(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra in project["optional-dependencies"]
    assert install(extra) == f"pip install -e '.[{extra}]' in the clone of samebits"


def test_nobody_is_told_to_install_this_package_from_an_index():
    """There is none that has it: what answers there would be somebody else's."""
    asked = re.compile(r"pip install ['\"]?samebits")
    told = [
        path for path in (ROOT / "harness").rglob("*.py") if asked.search(path.read_text("utf-8"))
    ]
    assert told == []


def test_a_digest_is_cut_and_nothing_else():
    assert shortened("f522a3bb0011223344556677") == "f522a3bb..."
    assert shortened("no batch") == "no batch"
    assert shortened(0.25) == "0.25"


def nested(depth):
    """Return lists in lists that share their parts: nine times as long for each level."""
    found = ["x"] * 9
    for _ in range(depth):
        found = [found] * 9
    return found


def looped():
    found = {"a": 1}
    found["self"] = found
    return found


@pytest.mark.parametrize(
    "value",
    [
        nested(20), looped(), "x" * 10**7, b"x" * 10**7, 10**5000, -(10**9000), [10**5000] * 3,
        list(range(10**6)), {str(n): n for n in range(10**5)}, {"\ud800" * 500: None},
    ],
    ids=["aliases", "loop", "text", "bytes", "digits", "negative", "in a list", "long", "wide",
         "half a character"],
)  # fmt: skip
def test_a_found_value_is_quoted_in_80_characters_whatever_it_is(value):
    assert 0 < len(quoted(value)) <= 80
    assert len(quoted(value, 200)) <= 200


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -2.5, "text", b"PIEH", [1, 2], (1,), {"lr": "x"}, {1}, [[0.5], {}], [0] * 12],
)
def test_a_short_value_is_quoted_as_it_is_written(value):
    assert quoted(value) == repr(value)


class InvalidArgumentError(Exception):
    """Named as TensorFlow's."""


IN_A_GRAPH = """Graph execution error:

Detected at node 'model/conv2d/Conv2D' defined at (most recent call last):
    File "/usr/lib/python3.11/runpy.py", line 196, in _run_module_as_main
      return _run_code(code, main_globals, None,
    File "/home/me/train.py", line 86, in <module>
      model.fit(x)
Node: 'model/conv2d/Conv2D'
input depth must be evenly divisible by filter depth: 3 vs 6
\t [[{{node model/conv2d/Conv2D}}]] [Op:__inference_train_function_123]"""
WRAPPED = (
    "{{function_node __wrapped__MatMul_device_/job:localhost/device:CPU:0}} Matrix size-"
    "incompatible: In[0]: [2,3], In[1]: [4,5] [Op:MatMul] name: "
)
ROOTS = """2 root error(s) found.
  (0) INVALID_ARGUMENT: Input to reshape has 6 values, but the requested shape has 4
\t [[node Reshape
 (defined at x.py:3)
]]
0 successful operations."""
STATE_DICT = "Error(s) in loading state_dict for Net:\n\tMissing key(s) in state_dict: 'a.w'.\n"
FRAMES = """tensors on different devices
Exception raised from check at ../c10/core.cpp:12 (most recent call first):
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x57 (0x7f1)
frame #1: <unknown function> + 0x1b (0x7f2)"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (IN_A_GRAPH, "input depth must be evenly divisible by filter depth: 3 vs 6"),
        (WRAPPED, "Matrix size-incompatible: In[0]: [2,3], In[1]: [4,5]"),
        (ROOTS, "INVALID_ARGUMENT: Input to reshape has 6 values, but the requested shape has 4"),
        (STATE_DICT, "Error(s) in loading state_dict for Net: Missing key(s) in state_dict: 'a."),
        (FRAMES, "tensors on different devices"),
        ("", "no text"),
        ('  File "x.py", line 3, in f', 'File "x.py", line 3, in f'),
        ("found [[1, 2], [3, 4]], expected 4", "found [[1, 2], [3, 4]], expected 4"),
    ],
    ids=["graph", "wrapped", "roots", "heading", "frames", "empty", "noise alone", "an array"],
)
def test_a_framework_s_error_is_its_first_sentence_and_no_call_stack(text, line):
    found = one_line(InvalidArgumentError(text))
    assert found.startswith(f"InvalidArgumentError: {line}")
    assert "\n" not in found
    assert "{{" not in found


def test_what_a_terminal_would_obey_is_spelled_out():
    assert plain_line("no key a\x1b[31m\x00b, \udcff") == r"no key a\x1b[31m\x00b, \udcff"


def test_a_long_text_ends_with_a_sentence_or_with_dots():
    assert plain_line("The file is short. " + "Please read on and on, " * 20, most=60) == (
        "The file is short."
    )
    assert plain_line("a" * 300) == "a" * 197 + "..."


def test_the_full_text_keeps_everything_and_what_was_noted():
    error = InvalidArgumentError(IN_A_GRAPH)
    error.add_note("in train() of system mine, in its own process:\nTraceback ...")
    assert IN_A_GRAPH in full_text(error)
    assert full_text(error).endswith("in its own process:\nTraceback ...")


def test_memory_of_the_machine_is_told_with_what_helps_there():
    found = one_line(MemoryError("a/0000004-img_0.png: no memory for 8000 x 8000 pixels"))
    assert ": a/0000004-img_0.png: no memory for 8000 x 8000 pixels; let other processes" in found
    assert "data.num_workers" in found
    assert "micro_batch_size" in one_line(type("OutOfMemoryError", (RuntimeError,), {})("cuda"))
