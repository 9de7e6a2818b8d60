"""A JSON file of ours is read back as it was written, or refused."""

import json

import pytest

from harness.sealed import read_sealed, sealed_values

VALUES = {"start": 2, "rate": 1 / 3, "names": ["a", "\N{GREEK SMALL LETTER TAU}"], "none": None}


def resealed(content):
    """Seal what was changed on purpose, as whoever wrote it would have."""
    return sealed_values({name: value for name, value in content.items() if name != "seal"})


def write(path, text):
    path.write_text(text)
    return path


def test_what_was_written_is_read_and_the_order_of_keys_says_nothing(tmp_path):
    sealed = sealed_values(VALUES)
    for content in (sealed, dict(reversed(sealed.items()))):
        assert read_sealed(write(tmp_path / "a", json.dumps(content))) == (VALUES, True)


def test_a_file_of_an_earlier_version_is_read_and_known_to_have_no_seal(tmp_path):
    assert read_sealed(write(tmp_path / "a", json.dumps(VALUES))) == (VALUES, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"start": 2', '"start": 3'), "changed since it was written"),
        (lambda text: text.replace('"start": 2', '"start": 2.0'), "changed since it was written"),
        (lambda text: text.replace('"start": 2', '"start": 2, "more": 1'), "changed since it was"),
        (lambda text: text.replace('"start": 2, ', ""), "changed since it was written"),
        (lambda text: text.replace('"start": 2', '"start": 2, "start": 2'), "stands there twice"),
        (lambda text: "[1]", "expected an object, found list"),
        (lambda text: text[:-9], "Unterminated string|Expecting"),
    ],
    ids=["a figure", "a type", "a name more", "a name less", "a name twice", "a list", "cut"],
)
def test_what_was_changed_is_refused(tmp_path, change, message):
    text = json.dumps(sealed_values(VALUES))
    assert change(text) != text
    with pytest.raises(ValueError, match=message):
        read_sealed(write(tmp_path / "a", change(text)))
