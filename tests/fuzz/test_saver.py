"""Damaged checkpoints of TensorFlow's Saver: a line, though TensorFlow's reader dies of some."""

import subprocess
import sys

import pytest

from tests.fuzz.fuzzing import OTHERS, counts
from tests.limited import in_child
from tests.saver_index import masked_crc, sealed

pytestmark = pytest.mark.slow  # TensorFlow is imported once to write what is damaged

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
@counts(OTHERS, few=60)
def test_a_damaged_checkpoint_is_a_line_or_has_the_same_variables(prefix, count, what):
    in_child(f"tests.fuzz.saver:{what}", prefix, count, seconds=7200)


def test_the_checksum_is_that_of_tensorflow(prefix):
    whole = prefix.with_name("net.ckpt.index").read_bytes()
    assert sealed(whole, whole) == whole
    assert masked_crc(b"") == 0xA282EAD8
