import ast
from functools import cache
from pathlib import Path

import harness

ROOT = Path(harness.__file__).parent
PATHS = [path for path in sorted(ROOT.rglob("*.py")) if path.name != "__main__.py"]
MODULES = {
    ".".join(("harness", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in PATHS
}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@cache
def parsed(name):
    """Return a module's tree; nothing is imported, so that nothing is configured."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def listed(tree):
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")])
                | ast.AnnAssign(target=ast.Name(id="__all__"))
            ):
                return ast.literal_eval(statement.value)
    return None


def bound(tree):
    """Return the names that a module's top level binds."""
    names = set()
    for statement in tree.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.alias):
                names.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
        if isinstance(statement, DEFINITIONS):
            names.add(statement.name)
    return names


def public(body):
    return [n for n in body if isinstance(n, DEFINITIONS) and not n.name.startswith("_")]


def test_a_module_says_what_is_public_and_every_name_exists():
    wrong = []
    for name in MODULES:
        tree = parsed(name)
        names = listed(tree) if len(tree.body) > 1 else []  # a package may hold a docstring alone
        if names is None:
            wrong.append(f"{name} has no __all__")
            continue
        wrong += [f"{name}: {n} is listed twice" for n in set(names) if names.count(n) > 1]
        wrong += [f"{name}: {n} is listed and not there" for n in set(names) - bound(tree)]
        wrong += [f"{name}: {n} is private" for n in names if n[0] == "_" and n != "__version__"]
    assert wrong == []


def reached_otherwise(tree):
    """Return hooks and fixtures, which pytest finds, and what a table of the module holds."""
    tables = [s for s in tree.body if isinstance(s, (ast.Assign, ast.AnnAssign))]
    names = {n.id for table in tables for n in ast.walk(table) if isinstance(n, ast.Name)}
    for node in public(tree.body):
        decorators = " ".join(map(ast.unparse, node.decorator_list))
        if node.name.startswith("pytest_") or "pytest.fixture" in decorators:
            names.add(node.name)
    return names


def test_every_public_function_and_class_is_listed():
    absent = []
    for name in MODULES:
        tree = parsed(name)
        found = {node.name for node in public(tree.body)}
        unlisted = found - set(listed(tree) or []) - reached_otherwise(tree)
        absent += [f"{name}.{n}" for n in sorted(unlisted)]
    assert absent == []


def test_the_modules_that_are_looked_at_are_those_of_the_package():
    assert {"harness.streams", "harness.training.step", "harness.config"} < set(MODULES)


def test_the_version_is_public():
    assert harness.__all__ == ["__version__"]
    assert harness.__version__.count(".") == 2
