import re
import runpy
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command(name: str) -> str:
    found = re.search(rf"<!-- command: {name} -->\n```bash\n(.+?)\n```", README)
    assert found is not None, f"README.md has no command {name!r}"
    return found[1]


def test_the_gate_and_the_tests_are_one_command_each() -> None:
    assert (
        command("gate") == "pip install -e '.[tensorflow]' -c constraints.txt && pytest invariants/"
    )
    assert command("test") == (
        "pip install -e '.[dev]' -c constraints.txt && pytest invariants/ && "
        "pytest tests/ -n 2 --dist loadfile"
    )


def test_the_gate_s_command_needs_nothing_that_it_does_not_install() -> None:
    """An option of a plugin of the tests alone ended it for everybody who followed the README."""
    absent = [word for name in ("benchmark", "xdist") for word in ("-p", f"no:{name}")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *absent, "--collect-only", "-q", "invariants/"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_pull_requests_run_the_readme_gate() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert command("gate") in workflow


def test_ci_takes_its_command_from_the_readme() -> None:
    assert "command: test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", (ROOT / "constraints.txt").read_text().splitlines())
def test_constraints_pin_versions_and_nothing_else(line: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.]+", line)


def test_what_is_said_of_promises_is_made_from_their_declarations() -> None:
    from harness.commands.promises import written

    for path, text in written(ROOT).items():
        hint = f"{path.name} is not what the declarations say: run `harness promises --write .`"
        assert path.read_text(encoding="utf-8") == text, hint


@pytest.mark.parametrize("page", ["gate.md", "your-trainer.md"])
def test_the_verdicts_that_a_page_shows_count_every_promise_of_the_tier(page: str) -> None:
    from harness.promises.registry import PROMISES

    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    shown = re.findall(r"^ *GATE \w+: (\d+ promises hold, .*)$", text, re.MULTILINE)
    assert shown
    due = sum(promise.in_quick for promise in PROMISES.values())
    assert [sum(map(int, re.findall(r"\d+", line))) for line in shown] == [due] * len(shown)


def test_the_page_of_the_epoch_log_has_every_column() -> None:
    from harness.records.records import EPOCH_FIELDS

    page = (ROOT / "docs" / "epoch-log.md").read_text(encoding="utf-8")
    assert [name for name in EPOCH_FIELDS if f"`{name}`" not in page] == []


def test_the_readme_is_one_screen() -> None:
    assert len(README.splitlines()) <= 80


def said_in_the_picture() -> str:
    root = ET.parse(ROOT / "docs" / "red-gate.svg").getroot()
    words = [text for text in root.itertext() if "{" not in text]
    return re.sub(r"\s", "", "".join(words)).replace("\N{NO-BREAK SPACE}", "")


def test_the_picture_shows_what_the_text_beside_it_says() -> None:
    shown = re.search(r"```\n\$ (.+)\n\.\.\.\n(.+?)\n```\n\n!\[", README, re.DOTALL)
    assert shown is not None
    for line in (shown[1], *shown[2].splitlines()):
        assert re.sub(r"\s", "", line) in said_in_the_picture()


@pytest.mark.nightly
def test_the_caught_fault_of_the_readme_is_what_its_command_says() -> None:
    """The picture is made anew by ``python docs/picture.py``."""
    made = runpy.run_path(str(ROOT / "docs" / "picture.py"))
    found = made["red_gate"]()
    assert made["with_picture"](README, found) == README
    assert made["svg"](found) == (ROOT / "docs" / "red-gate.svg").read_text(encoding="utf-8")
