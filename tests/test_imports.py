"""No module of the package needs itself, however far around."""

import ast
from graphlib import CycleError, TopologicalSorter
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
