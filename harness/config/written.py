"""A configuration's YAML as it is written: words stay what they are until a key says what it takes.

YAML 1.1 reads ``off`` as false, ``012`` as ten, ``12:30`` as 750 and ``2020-13-45`` as a date, and
what is meant depends on the key. Text that unfolds, nests or is long without end is refused.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from harness.config.errors import ConfigError
from harness.errors import cut

__all__ = ["MOST_CHARACTERS", "MOST_VALUES", "Plain", "read_yaml", "refuse_ambiguous"]

MOST_CHARACTERS = 2**18
"""Of one file; the longest that is known has some four thousand."""
MOST_VALUES = 10_000
"""Of one file, with what aliases repeat: a text of 400 characters can unfold to billions."""
_MOST_LEVELS = 20
_LONGEST_NUMBER = 400
"""Characters; more digits than any key takes, and fewer than Python refuses to read."""

_TAG = "tag:yaml.org,2002:"
_NUMBERS_AND_WORDS = ("bool", "int", "float")
_TEXTS = ("str", "timestamp", "value", "merge")

_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


@dataclass(frozen=True)
class Plain:
    """A scalar that YAML 1.1 takes for a truth value or a number, which some keys do not.

    Attributes
    ----------
    text : str
        As written.
    kind : str
        ``"bool"``, ``"int"`` or ``"float"``.
    """

    text: str
    kind: str

    def value(self) -> bool | int | float | str:
        """Return what YAML reads; text where it reads something that nobody can have meant.

        Raises
        ------
        ValueError
            If readers of YAML do not agree on the number, or it is too long; says so.
        """
        refuse_ambiguous(self.text)
        if len(self.text) > _LONGEST_NUMBER:
            msg = f"expected a number, got one of {len(self.text)} characters: {cut(self.text, 20)}"
            raise ValueError(msg)
        node = yaml.ScalarNode(f"{_TAG}{self.kind}", self.text)
        try:
            made: Any = getattr(_CONSTRUCTOR, f"construct_yaml_{self.kind}")(node)
        except (KeyError, ValueError):  # an explicit tag: `!!int abc`
            return self.text
        return made  # type: ignore[no-any-return]


_CONSTRUCTOR = yaml.constructor.SafeConstructor()


def refuse_ambiguous(text: str) -> None:
    """Refuse a number that one reader of YAML takes for another number than the next.

    Raises
    ------
    ValueError
        Saying what was found and what to write.
    """
    if _LEADING_ZERO.fullmatch(text):
        msg = f"got {cut(text)}, octal to some readers of YAML; write it without the leading zero"
        raise ValueError(msg)
    if _BASE_60.fullmatch(text):
        msg = f"got {cut(text)}, a number to base 60 to some readers of YAML; write it in decimals"
        raise ValueError(msg)


def read_yaml(text: str) -> Any:
    """Return the mappings, lists and scalars of one YAML document; None where it is empty.

    Aliases and merge keys (``<<``) are resolved; keys are text, as written.

    Raises
    ------
    ConfigError
        If it is no YAML, too long, too deep, unfolds to too much, has a key twice, or a tag
        that no key takes. Names the line where there is one.
    """
    if len(text) > MOST_CHARACTERS:
        msg = f"expected at most {MOST_CHARACTERS} characters, found {len(text)}"
        raise ConfigError(msg)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        msg = f"not readable as YAML: {_problem(error)}"
        raise ConfigError(msg) from None
    except RecursionError:
        msg = f"not readable: nested more deeply than {_MOST_LEVELS} levels"
        raise ConfigError(msg) from None
    return None if node is None else _Unfolding().value(node, 0)


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or " ".join(str(error).split())
    more = getattr(error, "context", None)
    text = f"{said} ({more})" if more else said
    return cut(text, 200) if mark is None else f"line {mark.line + 1}: {cut(text, 200)}"


def _wrong(node: yaml.Node, text: str) -> ConfigError:
    return ConfigError(f"line {node.start_mark.line + 1}: {text}")


class _Unfolding:
    """Makes values of nodes, and counts them: an alias is one node and as many values as uses."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def value(self, node: yaml.Node, level: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _wrong(node, f"more than {MOST_VALUES} values, with those that aliases repeat")
        if level > _MOST_LEVELS:
            raise _wrong(node, f"nested more deeply than {_MOST_LEVELS} levels")
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return self._mapping(node, level)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            return [self.value(item, level + 1) for item in node.value]
        if isinstance(node, yaml.ScalarNode):
            if tag == "null":
                return None
            if tag in _TEXTS:
                return node.value
            if tag in _NUMBERS_AND_WORDS:
                return Plain(node.value, tag)
        raise _wrong(node, f"the tag {cut(node.tag)} is not known here; write the plain value")

    def _mapping(self, node: yaml.MappingNode, level: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong(key, "expected the name of a key, found a list or a mapping")
            if key.tag == f"{_TAG}merge":
                merged.append(value)
                name = "<<"
            else:
                name = key.value
            if name in own or (name == "<<" and len(merged) > 1):
                raise _wrong(key, f"key `{cut(name)}` occurs twice")
            if key.tag != f"{_TAG}merge":
                own[name] = self.value(value, level + 1)
        # What a mapping says itself counts more than what it merges.
        return {**self._merged(merged[0], level), **own} if merged else own

    def _merged(self, node: yaml.Node, level: int) -> dict[str, Any]:
        every = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Any] = {}
        for one in every:
            if not isinstance(one, yaml.MappingNode):
                raise _wrong(one, "expected a section or a list of sections after <<")
            found = {**self.value(one, level + 1), **found}  # the first of several counts
        return found
