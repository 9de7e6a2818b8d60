"""What goes through the pipe between the harness and a worker."""

import io
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.systems.answers import Fields
from harness.systems.worker import MAGIC, PREFIX, FrameError, decode, pack, unpack_header

DTYPES = ["?", "u1", "<i4", "<i8", ">i8", "<f4", ">f4", "<f8", "<f2"]
plain = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )
)
arrays = st.one_of(
    plain, plain.map(np.asfortranarray), plain.map(lambda a: a.T),
    plain.filter(lambda a: a.ndim).map(lambda a: a[::2]),
)  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.text() | st.sampled_from(["$array", "$float", "$object", "$items", "value", "fields"])
values = st.recursive(
    scalars | arrays,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def through(value):
    """Return a value after a frame's bytes were made and read."""
    frame = b"".join(pack(value))
    magic, length = PREFIX.unpack(frame[: PREFIX.size])
    assert magic == MAGIC
    body, sizes = unpack_header(frame[PREFIX.size : PREFIX.size + length])
    at, found = PREFIX.size + length, []
    for size in sizes:
        found.append(np.load(io.BytesIO(frame[at : at + size]), allow_pickle=False))
        at += size
    assert at == len(frame)
    return decode(body, found, Fields.named)


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape, a.tobytes()) == (
            b.dtype, b.shape, b.tobytes(),
        )  # fmt: skip
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b)) and repr(a) == repr(b)


@given(values)
@example([float("nan"), float("inf"), -float("inf"), -0.0, 1e-320])
@example({"$array": 0, "$object": {"fields": {}}})
def test_values_arrive_as_they_were_sent(value):
    assert same(value, through(value))


def test_scalars_of_numpy_keep_their_dtype():
    for value in (np.float32(0.1), np.float64("nan"), np.int64(-3), np.bool_(True), np.uint8(9)):
        found = through({"x": value})["x"]
        assert (type(found), found.tobytes()) == (type(value), value.tobytes())


@pytest.mark.parametrize("text", ['{"body":NaN,"sizes":[]}', '{"body":1}', "[]", "hello"])
def test_a_header_that_is_no_strict_json_is_refused(text):
    with pytest.raises(FrameError, match=r"no frame's header|strict"):
        unpack_header(text.encode())


@pytest.mark.parametrize("value", [b"x", {1: 2}, lambda: 0, json, np.array([None]), 1j, object])
def test_what_cannot_be_sent_is_refused(value):
    with pytest.raises(FrameError, match=r"reply\.x"):
        pack({"x": value}, "reply")


def test_a_value_within_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(FrameError, match="nested deeper"):
        pack(value)
