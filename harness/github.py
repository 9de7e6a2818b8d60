"""What a gate says on GitHub: a table in the job's summary, and what is broken as annotations."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.verdict import GateResult

__all__ = ["annotations", "summary", "write_summary"]


def summary(result: GateResult, name: str) -> str:
    """Return a gate's result as Markdown: its last line, the roots, and every promise below."""
    lines = [f"### {name}: {result.line}", ""]
    if result.roots:
        lines += ["| broken, causes first | found | that follow |", "|---|---|---|"]
        lines += [
            f"| `{root.judgement.promise.id}` | {_cell(root.judgement.text)} "
            f"| {len(root.consequences)} |"
            for root in result.roots
        ]
        lines.append("")
    rows = (f"| {j.verdict} | `{j.promise.id}` | {_cell(j.text)} |" for j in result.judgements)
    lines += ["<details><summary>every promise</summary>", "", "| | promise | |", "|---|---|---|"]
    return "\n".join([*lines, *rows, "", "</details>", ""]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def write_summary(result: GateResult, name: str, environment: Mapping[str, str]) -> None:
    """Append to the file that GitHub names, if it names one."""
    path = environment.get("GITHUB_STEP_SUMMARY", "")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(summary(result, name))


def annotations(result: GateResult, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each root that GitHub shows beside the job; none elsewhere."""
    if environment.get("GITHUB_ACTIONS") != "true":
        return
    for root in result.roots:
        judgement = root.judgement
        text = judgement.text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        title = f"{judgement.promise.id}: {judgement.promise.sentence}"
        yield f"::error title={title.replace(',', '%2C').replace(':', '%3A')}::{text}"
