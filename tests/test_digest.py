import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.digest import digest_arrays, digest_bytes, digest_file, digest_strings


def values():
    return np.arange(6, dtype=np.float32).reshape(2, 3)


def one(array, name="w"):
    return digest_arrays({name: array})


def test_digests_are_the_same_on_every_version_and_machine():
    # Recorded runs name these digests; a change makes every record unreadable.
    assert digest_strings(["ab", "c"]) == "4826ed043ab3cdec576d8541fa5d5a80"
    assert digest_bytes(b"ab", b"c") == "4826ed043ab3cdec576d8541fa5d5a80"
    assert digest_arrays({"w": values(), "b": values()[0]}) == "1a1b12fcfeaa00db3e557d78c5a80b81"


def test_a_digest_is_blake2b_over_length_prefixed_fields():
    fields = b"".join(len(f).to_bytes(8, "little") + f for f in (b"ab", b"c"))
    assert digest_bytes(b"ab", b"c") == hashlib.blake2b(fields, digest_size=16).hexdigest()
    array = [b"w", b"<f4", b"(2, 3)", values().astype("<f4").tobytes()]
    assert one(values()) == digest_bytes(*array)


@pytest.mark.parametrize(
    "other",
    [
        values().astype(np.float64),
        values().view(np.int32),
        values().reshape(3, 2),
        values().reshape(6),
        values()[None],
        values().T,
        values() + np.float32(1e-6),
        np.where(values() == 0, np.float32(-0.0), values()),
    ],
    ids=["f8", "i4", "3x2", "6", "1x2x3", "T", "value", "minus-zero"],
)
def test_dtype_shape_order_and_every_bit_count(other):
    assert one(other) != one(values())


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1, 0)])
def test_empty_arrays_differ_by_shape_and_dtype(shape):
    digests = [one(np.zeros(s, d)) for s in {(), (2, 0), shape} for d in ("<f4", "<f8", "|u1")]
    assert len(set(digests)) == 9


def test_names_count_but_not_their_order():
    a, b = values(), values() + 1
    assert digest_arrays({"a": a, "b": b}) == digest_arrays({"b": b, "a": a})
    assert digest_arrays({"a": a, "b": b}) != digest_arrays({"a": b, "b": a})
    assert one(a, "a") != one(a, "b")
    assert one(a, "a") != digest_arrays({"a": a, "b": np.zeros(0)})


@pytest.mark.parametrize("kind", ["u2", "i4", "i8", "f4", "f8", "c8", "U5", "M8[D]"])
def test_byte_order_does_not_count(kind):
    little = np.array([1, 258, 3]).astype(f"<{kind}")
    big = little.astype(f">{kind}")
    assert big.tobytes() != little.tobytes()
    assert one(big) == one(little)


@pytest.mark.parametrize(
    "same",
    [
        np.asfortranarray(values()),
        np.repeat(values(), 2, axis=1)[:, ::2],
        values()[::-1].copy()[::-1],
    ],
    ids=["fortran", "strided", "backwards"],
)
def test_memory_layout_does_not_count(same):
    assert np.array_equal(same, values())
    assert one(same) == one(values())


def test_a_read_only_array_is_digested_unchanged():
    array = values()
    array.setflags(write=False)
    assert one(array) == one(values())


def test_a_scalar_differs_from_an_array_of_one():
    assert one(np.array(3.0)) != one(np.array([3.0]))
    assert one(np.float64(3.0)) == one(np.array(3.0))


@pytest.mark.parametrize(
    "array",
    [np.array([1, "a", None], object), np.zeros(2, [("a", "f4"), ("b", "O")])],
    ids=["objects", "record-with-object"],
)
def test_python_objects_are_refused_by_name(array):
    with pytest.raises(TypeError, match=r"^array 'w' has dtype object, expected numbers"):
        digest_arrays({"a": values(), "w": array})


@pytest.mark.parametrize(
    ("left", "right"),
    [(["ab", "c"], ["a", "bc"]), (["abc"], ["ab", "c"]), ([], [""]), (["a", ""], ["", "a"])],
)
def test_the_same_text_in_other_pieces_has_another_digest(left, right):
    assert digest_strings(left) != digest_strings(right)
    assert digest_bytes(*map(str.encode, left)) != digest_bytes(*map(str.encode, right))


FIELDS = st.lists(st.text("ab\0é", max_size=3), max_size=4)


@given(FIELDS, FIELDS)
@settings(max_examples=200)
def test_two_lists_have_one_digest_only_where_they_are_equal(left, right):
    assert (digest_strings(left) == digest_strings(right)) == (left == right)
    assert (digest_bytes(*map(str.encode, left)) == digest_strings(right)) == (left == right)


def test_strings_may_come_from_an_iterator():
    assert digest_strings(iter(["ab", "c"])) == digest_strings(("ab", "c"))


def test_a_file_is_digested_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(100_000) + b"end")
    assert digest_file(path) == digest_bytes(bytes(100_000) + b"end")
    assert digest_file(path) != digest_bytes(bytes(100_000))
