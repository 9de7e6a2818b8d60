"""docs/pytorch.md says what the base class has, and its listings are as short as it says."""

import ast
import re
from pathlib import Path

from harness.systems.answers import answer
from harness.systems.protocol import METHODS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "pytorch.md").read_text(encoding="utf-8")
PARTS = ROOT / "harness" / "systems" / "torch"
LISTINGS = dict(re.findall(r"<!-- listing: (.+?) -->\n```python\n(.+?)```", PAGE, re.DOTALL))
FIRST = LISTINGS["raft, first verdict"]
REST = LISTINGS["raft, the rest"].partition("# ... as above, and\n")[2]


def declared(text, name=None):
    """Return the body of a class of a text; of the only one, if none is named."""
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    (found,) = (node for node in classes if name in (None, node.name))
    return found.body


def methods(text, name=None):
    return {node.name for node in declared(text, name) if isinstance(node, ast.FunctionDef)}


def written():
    return methods((PARTS / "written.py").read_text())


def lines(text):
    return [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_the_listings_are_as_short_as_is_said():
    first, both = len(lines(FIRST)), len(lines(FIRST + REST))
    assert first <= 60
    assert both <= 100
    assert f"These {first} lines (without blanks and comments)" in PAGE
    assert f"{NUMBERS[both - first]} lines more let the harness see" in PAGE


NUMBERS = {6: "Six", 7: "Seven", 8: "Eight", 9: "Nine"}


def test_the_listings_write_what_a_subclass_may_write():
    tree = FIRST + REST
    whole = written() | {"save", "restore"}
    assert methods(tree) - {"lay_out"} <= whole
    assert {"loop", "validate", "save", "restore", "flow", "read"} <= methods(tree)


def test_every_method_is_on_the_page_and_no_other():
    words = {word.partition("(")[0] for word in re.findall(r"`([a-z_]+\([^`\n]*\))`", PAGE)}
    assert written() <= words
    own = methods((PARTS / "adapter.py").read_text(), "TorchSystem")
    asked = set(re.findall(r"self\.([a-z_]+)\(", PAGE))
    assert asked <= own | written() | {"lay_out"}


def test_what_the_listing_declares_is_a_description():
    given = {
        target.id: ast.literal_eval(node.value)
        for node in declared(FIRST) if isinstance(node, ast.Assign) for target in node.targets
    }  # fmt: skip
    given.pop("paths")
    described = answer("describe", {**given, "can": list(METHODS)})
    assert described.settings["eval.crop"] == "frame"
