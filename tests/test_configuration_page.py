"""The reference of the configuration's keys, the schema for editors, examples, and CITATION.cff."""

import json
import re
import tomllib

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.cli import main
from harness.config import load_config
from harness.config.meanings import MEANINGS, fields_of
from harness.reporting.keys import configuration_page
from harness.schemas import SCHEMAS
from tests.documented import ROOT, steps

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_the_page_is_what_the_declarations_say():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == configuration_page(), "run `harness schema --keys docs`"


def test_every_key_has_a_sentence_and_a_row():
    keys = [key for key, *_ in fields_of()]
    assert list(MEANINGS) == keys
    rows = re.findall(r"^\| `(\w+)` \|", configuration_page(), flags=re.MULTILINE)
    assert rows == [key.rpartition(".")[2] for key in keys]


def test_a_row_has_range_default_kind_and_unit():
    page = configuration_page()
    for row in (
        "| `input_height` | whole number from 1 to 16,384 | `180` | dynamics | height of the "
        "training crop, px |",
        '| `eval_batches_per_arch` | whole number from 1 to 1,048,576 or `"full"` | `4` | protocol',
        "| `lr` | number above 0 to 3e+38 | `0.0001` | dynamics |",
        "| `crop` | a list of 2: each a whole number from 1 to 16,384 or `null` | `null` |",
        '| `supernet_mode` | `"strict_fairness"` or `"balanced_irregular_fairness"` |',
    ):
        assert row in page


def test_the_command_writes_the_page(tmp_path):
    out = tmp_path / "configuration.md"
    out.write_text("of an earlier version")
    assert main(["schema", "--keys", str(tmp_path)]) == 0
    assert out.read_text(encoding="utf-8") == configuration_page()


def test_an_editor_finds_a_sentence_at_every_key():
    schema = json.loads((ROOT / "docs" / "schemas" / "config.json").read_text())
    for key, section, _ in fields_of():
        told = schema["$defs"][section.__name__]["properties"][key.rpartition(".")[2]]
        assert told["description"] == MEANINGS[key]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_names_the_schema_that_it_follows(path):
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named is not None
    assert (path.parent / named[1]).resolve() == ROOT / "docs" / "schemas" / "config.json"
    validator = Draft202012Validator(SCHEMAS["config"])
    assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []
    load_config(path)


def test_the_page_of_the_gate_and_the_example_have_one_configuration():
    shown = next(step.text for step in steps("docs/gate.md") if step.file == "run.yaml")
    example = (ROOT / "examples" / "quick.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(shown) == yaml.safe_load(example)


def test_the_citation_has_what_its_format_requires():
    """The keys that the schema guide of version 1.2.0 names as required, and what else is known."""
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"authors", "cff-version", "message", "title"} <= found.keys()
    assert found["cff-version"] == "1.2.0"
    assert found["type"] == "software"
    assert found["authors"] == [{"name": "The samebits authors"}]
    assert (found["title"], found["version"]) == (project["name"], project["version"])
    assert found["license"] == project["license"]
    assert found["keywords"] == project["keywords"]
    assert found["abstract"].strip(".") == project["description"]


def test_the_changelog_ends_with_the_version_that_the_package_has():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert titles[0] == "[Unreleased]"
    assert titles[1].startswith(f"[{project['version']}] - ")


def targets(page):
    """Return where the links of a page lead, without what lies elsewhere."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    return [target for target in found if not target.startswith("http")]


def test_every_page_is_in_the_index_and_every_link_leads_somewhere():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages - set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == set()
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"]
    broken = [
        (str(page.relative_to(ROOT)), target)
        for page in pages
        for target in targets(page)
        if not (page.parent / target).exists()
    ]
    assert broken == []
