"""Make the picture of README.md anew: a gate that is red, as text and as ``docs/red-gate.svg``.

    python docs/picture.py

The gate of ``examples/dead_metric.py`` is run for it. What differs from machine to machine, and
from run to run, is not on the picture.
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "harness gate --system examples/dead_metric.py:DeadMetric --tier smoke"
COLUMNS = 80

# As rich has it, but for fonts: those of the reader's machine, since nothing is to be fetched.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>A gate that is red</title>
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px;
line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}</defs>
<rect fill="#0c0c0c" width="{width}" height="{height}" rx="8"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def red_gate() -> str:
    """Return the last lines of the gate, with their colours: the heading, and all below it."""
    words = [sys.executable, "-m", *COMMAND.split(), "--", "--color=yes"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "PYTHONPATH": paths}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    begins = [n for n, line in enumerate(lines) if line.endswith("what is broken, causes first")]
    if done.returncode != 1 or len(begins) != 1:
        msg = f"{COMMAND}: expected exit code 1 and one heading, found {done.returncode}: {lines}"
        raise RuntimeError(msg)
    # The command that asks again is as long as the folder's name, and the commit is today's.
    kept = [line for line in lines[begins[0] :] if not line.startswith("again: ")]
    return "\n".join([re.sub(r"^(builtin).*(: what is broken)", r"\1\2", kept[0]), *kept[1:]])


def plain(coloured: str) -> str:
    """Return a text without its colours."""
    return Text.from_ansi(coloured).plain


def svg(coloured: str) -> str:
    """Return the picture of a coloured text."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble("$ ", COMMAND, "\n", Text.from_ansi(coloured)))
    return console.export_svg(
        title="", theme=MONOKAI, code_format=FORMAT, unique_id="red-gate"
    )  # fmt: skip


def block(coloured: str) -> str:
    """Return what stands between the marks of README.md."""
    text = f"```\n$ {COMMAND}\n...\n{plain(coloured)}\n```\n"
    return f"{text}\n![A gate that is red](docs/red-gate.svg)\n"


def with_picture(page: str, coloured: str) -> str:
    """Return the page with the text between its marks exchanged."""
    marks = r"(<!-- picture: begin -->\n).*?(<!-- picture: end -->)"
    return re.sub(marks, lambda m: m[1] + block(coloured) + m[2], page, flags=re.DOTALL)


def main() -> None:
    """Write both."""
    found, readme = red_gate(), ROOT / "README.md"
    readme.write_text(with_picture(readme.read_text(encoding="utf-8"), found), encoding="utf-8")
    (ROOT / "docs" / "red-gate.svg").write_text(svg(found), encoding="utf-8")


if __name__ == "__main__":
    main()
