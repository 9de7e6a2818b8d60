"""A space by the names of its options reads and writes every code, and refuses what is none."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.archs import Space, array_of, digits, slices_of
from harness.promises.arch_codes import covering_codes, covers, is_code
from harness.promises.ledger.plan import unfair_blocks
from harness.records.records import StepRecord
from harness.systems.answers import AnswerError, answer

DASHES = Space((("k3", "k5", "k7"), ("e3", "e4", "e6"), ("d2", "d3")), separator="-")
COMMAS = Space((("blk0:conv3", "blk0:skip"), ("blk1:conv3", "blk1:skip")), separator=",")
JOINED = Space((("a", "bb"), ("x1", "x2", "y")))
TOLD = Space(
    (("small", "large"), ("skip", "conv")),
    codes={"tiny": ("small", "skip"), "mid": ("small", "conv"), "big": ("large", "conv")},
)
SPACES = [DASHES, COMMAS, JOINED, digits((3,) * 9)]


@given(st.data())
def test_a_code_that_is_written_is_read(data):
    space = data.draw(st.sampled_from(SPACES))
    choice = tuple(data.draw(st.integers(0, count - 1)) for count in space.counts)
    assert space.read(space.write(choice)) == choice


def test_every_code_of_a_space_is_another_one():
    for space in SPACES[:3]:
        choices = list(itertools.product(*map(range, space.counts)))
        assert len({space.write(choice) for choice in choices}) == len(choices)


@pytest.mark.parametrize(
    ("space", "arch"),
    [
        (DASHES, "k3-e6"), (DASHES, "k3-e6-d4"), (DASHES, "k3-e6-d2-d2"), (DASHES, ""),
        (COMMAS, "blk0:conv3"), (JOINED, "ax1x1"), (JOINED, "x1a"), (digits((3, 3)), "03"),
        (TOLD, "huge"), (Space(), "0"),
    ],
)  # fmt: skip
def test_a_name_that_is_no_code_is_not_read(space, arch):
    assert space.read(arch) is None
    assert not is_code(arch, space)


def test_of_archs_told_one_by_one_those_are_asked_that_run_every_option():
    assert [TOLD.read(arch) for arch in TOLD.codes] == [(0, 0), (0, 1), (1, 1)]
    assert (TOLD.write((1, 1)), TOLD.write((1, 0))) == ("big", None)
    assert covering_codes(TOLD) == ("tiny", "mid", "big")
    assert covers(["tiny", "big"], TOLD)
    assert not covers(["tiny", "mid"], TOLD)


@pytest.mark.parametrize(
    ("archs", "text"),
    [
        (("blk0:conv3,blk1:skip", "blk0:skip,blk1:conv3"), ""),
        (
            ("blk0:conv3,blk1:skip", "blk0:skip,blk1:skip"),
            "epoch 2, step 3, block 1: expected options blk1:conv3, blk1:skip once each, found "
            "('blk1:skip', 'blk1:skip')",
        ),
        (
            ("blk0:conv3,blk1:skip",),
            "epoch 2, step 3, archs: expected 2 codes of the declared space, such as "
            "blk0:conv3,blk1:conv3, found ('blk0:conv3,blk1:skip',)",
        ),
    ],
)
def test_a_step_is_fair_by_the_names_of_options(archs, text):
    step = StepRecord(2, 3, archs, "", 1.0, 1.0, 0, 0, 1.0)
    assert "; ".join(map(str, unfair_blocks(step, COMMAS))) == text


def test_slices_are_written_as_in_numpy():
    entry = "blk/kernel:0[1:-1, 1:-1, :, ::2]"
    assert array_of(entry) == "blk/kernel:0"
    assert slices_of(entry) == (slice(1, -1), slice(1, -1), slice(None), slice(None, None, 2))
    assert (array_of("layers[0].weight"), slices_of("layers[0].weight")) == ("layers[0].weight", ())


DOOR = [
    ({"update": {"rule": "lamb"}}, r"\.update\.rule: expected one of adam, .*, found str 'lamb'"),
    (
        {"update": {"rule": "adam", "betas": [0.9, 1.5]}},
        r"betas\[1\]: expected .*, found float 1\.5",
    ),
    ({"update": {"rule": "adam", "decay": 1}}, r"\.update: unknown field 'decay', expected only"),
    (
        {"update": {"rule": "sgd", "weight_decay": -1}},
        r"weight_decay: expected .* found int -1|-1\.0",
    ),
    (
        {"slots": {"w": ["m", "v"]}, "update": {"rule": "adam", "undecayed": ["*bais"]}},
        r"\.update\.undecayed: expected weights of describe\(\)\.slots, such as 'w', .*'\*bais'",
    ),
    ({"slots": {"w": ["m"]}}, r"\.slots\['w'\]: expected the names of both moments, found .*'m'"),
    (
        {"space": {"names": [["a", "ab"]]}},
        r"\.space\.names: expected a separator, or names of which .*, found list \['a', 'ab'\]",
    ),
    ({"space": {"names": [["a-", "b"]], "separator": "-"}}, r"names: expected no '-', .*'a-'"),
    (
        {"space": {"names": [["a", "b"]]}, "options": [[["k"], ["l"], ["m"]]]},
        r"\.space\.names: expected names for the options of .*, \[3\] of each .*, found list \[2\]",
    ),
    (
        {"space": {"names": [["a", "b"]], "codes": {"x": ["c"]}}},
        r"\.space\.names\[0\]: expected options that a code has, found str 'a'",
    ),
    ({"space": {"sampling": "sandwich"}}, r"\.space\.sampling: expected one of fair, own, found"),
    ({"options": [[["kernel[:, 3]"]]]}, r"\.options: expected names of arrays, or slices .*3\]'"),
    ({"mean": "pixel"}, r"\.mean: expected one of samples, pixels, found str 'pixel'"),
    ({"devices": 0}, r"\.devices: expected a number of devices, at least 1, found int 0"),
    (
        {"finite_by_adapter": ["state"]},
        r"finite_by_adapter: expected some of train, evaluate, .*st",
    ),
    ({"loss": "mine"}, r"\.loss: expected one of .*, found str 'mine'"),
]


@pytest.mark.parametrize(("fields", "text"), DOOR)
def test_a_declaration_that_cannot_be_is_refused_at_the_door(fields, text):
    with pytest.raises(AnswerError, match=text) as error:
        answer("describe", {"name": "a", "can": [], **fields})
    assert "\n" not in str(error.value)
