"""No module of the package needs itself, however far around."""

import ast
import re
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import harness

ROOT = Path(harness.__file__).parent
FILES = {
    ".".join(("harness", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in ROOT.rglob("*.py")
}


def imported(name):
    """Return the modules of the package that a module imports, within functions too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            place = resolved(name, node)
            inner = {f"{place}.{alias.name}" for alias in node.names}
            found |= inner if inner <= FILES.keys() else inner | {place}
    return found & FILES.keys()


def resolved(name, node):
    """Return the full name of what a ``from`` statement of a module names."""
    if not node.level:
        return node.module
    package = name.split(".") + ["itself"] * (FILES[name].name == "__init__.py")
    return ".".join([*package[: -node.level], *([node.module] if node.module else [])])


def test_no_import_runs_in_a_circle():
    graph = {name: imported(name) for name in FILES}
    assert sum(map(len, graph.values())) > 500
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise AssertionError(circle) from None


def test_the_map_of_the_package_names_every_room_in_the_order_that_imports_keep():
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = (re.split(" {4,}", line.strip())[0] for line in page.split("```")[1].splitlines())
    words = [word.rstrip("/") for line in lines for word in line.split()]
    rooms = {name.split(".")[1] for name in FILES if "." in name and "__" not in name}
    rooms |= {path.name for path in ROOT.iterdir() if path.is_dir() and "__" not in path.name}
    assert {room for room in rooms if not any(fnmatch(room, word) for word in words)} == set()
    contract = (ROOT.parent / ".importlinter").read_text(encoding="utf-8").split("layers =\n")[1]
    layers = [
        re.findall(r"harness\.(\w+)", line) for line in contract.split("\n\n")[0].splitlines()
    ]
    places = [[words.index(room) for room in layer] for layer in layers]
    assert len(places) > 10
    assert all(max(above) < min(below) for above, below in pairwise(places))
