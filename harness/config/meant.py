"""What a written value means for its key: a word where words are chosen from, else a number."""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from harness.config.errors import ConfigError
from harness.config.tree import PATH
from harness.config.written import Plain, refuse_ambiguous
from harness.errors import InputError
from harness.expanding import escaped, expanded

__all__ = ["as_meant", "for_key", "with_escapes"]


def as_meant(tree: Mapping[str, Any], section: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return a tree of plain values, each as its key takes it, paths expanded.

    What stands where no key is stays as written, for whoever names unknown keys.

    Raises
    ------
    ConfigError
        If a number can be read in two ways, or a path names a variable that is not set.
    """
    fields = {field.alias or name: field for name, field in section.model_fields.items()}
    found: dict[str, Any] = {}
    for name, value in tree.items():
        field, key = fields.get(name), f"{prefix}{name}"
        annotation = None if field is None else field.annotation
        if _is_section(annotation) and isinstance(value, Mapping):
            found[name] = as_meant(value, annotation, f"{key}.")  # type: ignore[arg-type]
        else:
            found[name] = _leaf(value, annotation, key)
            if field is not None and PATH in field.metadata and isinstance(found[name], str):
                found[name] = _expanded(found[name], key)
    return found


def for_key(value: Any, parts: list[str], section: type[BaseModel]) -> Any:
    """Return a value as the key of a dotted name takes it."""
    tree: Any = value
    for part in reversed(parts):
        tree = {part: tree}
    found: Any = as_meant(tree, section)
    for part in parts:
        found = found[part]
    return found


def with_escapes(tree: Mapping[str, Any], section: type[BaseModel]) -> dict[str, Any]:
    """Return a tree whose paths are read back as they are, a ``$`` in a name included."""
    fields = {field.alias or name: field for name, field in section.model_fields.items()}
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if _is_section(fields[name].annotation):
            found[name] = with_escapes(value, fields[name].annotation)  # type: ignore[arg-type]
        else:
            found[name] = escaped(value) if PATH in fields[name].metadata else value
    return found


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _leaf(value: Any, annotation: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _leaf(one, None, key) for name, one in value.items()}
    if isinstance(value, list):
        inner = _item_type(annotation)
        return [_leaf(one, inner, key) for one in value]
    words, text = _takes(annotation)
    written = value.text if isinstance(value, Plain) else value
    if isinstance(written, str) and (text or written in words):
        return written
    if isinstance(value, Plain) and value.kind == "bool" and words:
        return written  # refused as the word that was written, beside those to choose from
    try:
        if isinstance(value, Plain):
            return value.value()
        if isinstance(value, str) and annotation is not None:
            refuse_ambiguous(value)
    except ValueError as error:
        msg = f"`{key}`: {error}"
        raise ConfigError(msg) from None
    return value


def _expanded(path: str, key: str) -> str:
    try:
        return expanded(path, f"`{key}`:")
    except InputError as error:
        raise ConfigError(str(error)) from None


def _takes(annotation: Any) -> tuple[set[str], bool]:
    """Return the words that a key chooses from, and whether it takes any text."""
    if annotation is None or annotation is str:
        return set(), True
    origin = get_origin(annotation)
    if origin is Literal:
        return {word for word in get_args(annotation) if isinstance(word, str)}, False
    if origin is Annotated:
        return _takes(get_args(annotation)[0])
    if origin in (Union, UnionType):
        every = [_takes(one) for one in get_args(annotation) if one is not type(None)]
        return set().union(*(words for words, _ in every)), any(text for _, text in every)
    return set(), False


def _item_type(annotation: Any) -> Any:
    """Return what a list of a key holds; None where the key takes no list."""
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0]
    for one in get_args(annotation):
        found = _item_type(one)
        if found is not None:
            return found
    return None
