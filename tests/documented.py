"""The commands of README.md and docs/, in the order in which a reader meets them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Step", "commands", "inline", "steps"]

ROOT = Path(__file__).parents[1]
_FURTHER = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))
PAGES = ("README.md", "CONTRIBUTING.md", "examples/README.md", *_FURTHER)

_FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w./-]+\.(?:yaml|py|ini))\b")
_PROGRAMS = "harness |pytest |pip |python |bash |cosmic-ray |cr-"
# What a program says begins with its name too, but then there is a colon: it is none.
_INDENTED = re.compile(rf"^ {{4,}}((?:{_PROGRAMS})(?![\w-]+: ).*)$", re.MULTILINE)
_INLINE = re.compile(rf"`((?:{_PROGRAMS})[^`]*)`")


@dataclass(frozen=True)
class Step:
    """A file that a page shows, or a command that it has one run.

    Attributes
    ----------
    text : str
        Of the file, or the command on one line, without its comment.
    file : str
        Name of the file, below the reader's folder; empty for a command.
    """

    text: str
    file: str = ""


def steps(page: str) -> list[Step]:
    """Return what a page has its reader write and run, in order.

    A block of code that begins with ``# NAME.yaml`` is a file of that name. Commands stand in
    blocks of bash, or indented.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [(m.start(), _fenced(*m.groups())) for m in _FENCED.finditer(text)]
    # Blanks of the same length: places must stay, and what is fenced is no indented command.
    rest = _FENCED.sub(lambda m: " " * len(m[0]), text)
    found += [(m.start(), [Step(_plain(m[1]))]) for m in _INDENTED.finditer(rest)]
    return [step for _, block in sorted(found, key=lambda one: one[0]) for step in block]


def commands(page: str) -> list[str]:
    """Return the commands of a page."""
    return [step.text for step in steps(page) if not step.file]


def inline(page: str) -> list[str]:
    """Return the commands within the sentences of a page."""
    text = _FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return [" ".join(words.split()) for words in _INLINE.findall(text)]


def _fenced(language: str, text: str) -> list[Step]:
    if language == "bash":
        joined = re.sub(r"\\\n\s*", "", text)
        return [Step(_plain(line)) for line in joined.splitlines() if line.strip()]
    named = _FILE.match(text)
    return [Step(text, named[1])] if named else []


def _plain(line: str) -> str:
    """Return a command without the comment behind it."""
    lexer = shlex.shlex(line, posix=False, punctuation_chars="&")
    lexer.whitespace_split, lexer.commenters = True, "#"
    return " ".join(lexer)
