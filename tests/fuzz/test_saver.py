"""Damaged checkpoints of TensorFlow's Saver: a line, though TensorFlow's reader dies of some."""

import os
import subprocess
import sys

import pytest

from tests.fuzz.fuzzing import OTHERS
from tests.limited import in_child
from tests.saver_index import masked_crc, sealed

WRITE = """
import sys, tensorflow as tf
from tests.fuzz.saver import ARRAYS
tf.raw_ops.SaveV2(prefix=sys.argv[1], tensor_names=list(ARRAYS),
                  tensors=[tf.constant(array) for array in ARRAYS.values()],
                  shape_and_slices=[""] * len(ARRAYS))
"""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("saver") / "net.ckpt"
    subprocess.run([sys.executable, "-c", WRITE, str(prefix)], check=True, capture_output=True)
    return prefix


@pytest.mark.parametrize("what", ["blind", "with_checksums"])
# TensorFlow is imported to write what is damaged: too slow for the quick tier.
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(int(os.environ.get("SAMEBITS_FUZZ_COUNT", 60)), marks=pytest.mark.slow),
        pytest.param(OTHERS, marks=pytest.mark.nightly),
    ],
    ids=["few", "many"],
)
def test_a_damaged_checkpoint_is_a_line_or_has_the_same_variables(prefix, count, what):
    in_child(f"tests.fuzz.saver:{what}", prefix, count, seconds=7200)


@pytest.mark.slow
def test_the_checksum_is_that_of_tensorflow(prefix):
    whole = prefix.with_name("net.ckpt.index").read_bytes()
    assert sealed(whole, whole) == whole
    assert masked_crc(b"") == 0xA282EAD8
