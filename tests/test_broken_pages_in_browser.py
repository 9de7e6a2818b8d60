"""Pages of planted faults as a browser shows them: wide and narrow, light and dark."""

import re
from pathlib import Path

import pytest

from harness.environment import apply_environment
from harness.fc2.synthetic import write_dataset
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.promises.setting import matrix_config
from harness.reporting.broken import broken_page
from harness.systems.opening import system_factory
from harness.systems.spec import SystemSpec
from tests.headless import browser, chromium

pytestmark = pytest.mark.slow

LAYOUT = (Path(__file__).parent / "layout.js").read_text(encoding="utf-8")
PLANTED = {
    "eval-crop-centred": "centre-off-by-one",
    "eval-order-fixed": "eval-random-order",
    "metric-oracle": "last-residual-scored",
    "metric-recomputed": "last-residual-scored",
    "unknown-flow-masked": "unknown-flow-counted",
    "augmented-labels-follow": "flip-keeps-u",
    "centre-window": "centre-off-by-one",
}
"""Promises, and the fault of the catalogue that breaks each."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    write_dataset(folder / "frames", train=7, val=5, height=29, width=43)
    config = matrix_config(folder / "frames")
    apply_environment(config)
    from harness.faults.base import fault_path
    from harness.faults.catalog import FAULTS
    from harness.runs.session import CompiledCache

    compiled, found = CompiledCache(), {}
    for fault in dict.fromkeys(PLANTED.values()):
        spec = SystemSpec("builtin", fault_path(FAULTS[fault]))
        tree = config.model_dump(mode="json", by_alias=True)
        bench = Bench(system_factory(spec, compiled), spec, tree, folder / fault, ())
        (folder / fault).mkdir()
        for name in (promise for promise, planted in PLANTED.items() if planted == fault):
            found[name] = judge(PROMISES[name], bench)
            page = broken_page(found[name], facts={"system": f"builtin, {fault}"}, version="0")
            (folder / f"{name}.html").write_text(page, encoding="utf-8")
        bench.close()
    return folder, found


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_drawn(pages, name):
    folder, found = pages
    assert found[name].verdict == "BROKEN"
    assert found[name].shown
    page = (folder / f"{name}.html").read_text(encoding="utf-8")
    assert re.search(r"<img alt=|<tr class=\"wrong\">", page)
    assert len(page) < 3_000_000


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    program = chromium()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with browser(program, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overlaps_nothing_is_fetched_and_the_console_is_silent(pages, tab, width, scheme):
    folder, _ = pages
    for name in PLANTED:
        page = folder / f"{name}.html"
        tab.said.clear()
        tab.asked.clear()
        tab.open(page, width=width, scheme=scheme)
        assert tab.value(LAYOUT) == [], name
        assert tab.said == []
        asked = {address for address in tab.asked if not address.startswith("data:")}
        assert asked == {page.as_uri()}
        paper = tab.value("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]


def test_expected_and_found_stand_beside_each_other_on_a_telephone_too(pages, tab):
    folder, _ = pages
    places = (
        "[...document.querySelectorAll('.trio')].map(trio => [...trio.querySelectorAll('figure')]"
        ".slice(0, 2).map(one => one.getBoundingClientRect()).map(box => [box.top, box.width]))"
    )
    for width in (390, 1280):
        tab.open(folder / "eval-crop-centred.html", width=width, scheme="light")
        found = tab.value(places)
        assert found
        for (top, wide), (other, _) in found:
            assert top == other
            assert wide > 150
