"""The page as a browser shows it: wide and narrow, light and dark, with the whole space in it."""

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.evaluation.scored_space import scored_space
from harness.supernet.space import format_arch
from tests.headless import browser, chromium
from tests.picture_runs import write_pictures
from tests.report_runs import ELSEWHERE, SEGMENTS, course, write
from tests.test_search_space import SIZE, WHOLE, truth

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine"),
]

LAYOUT = (Path(__file__).parent / "layout.js").read_text(encoding="utf-8")
ARCHS = tuple(map(format_arch, WHOLE))
EPE = tuple(truth().tolist())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    space = scored_space(ARCHS, EPE, skeleton="full", width=32, size=SIZE)
    evaluation = {
        "archs": ARCHS, "per_arch_epe": EPE, "checkpoint": "epoch-0003-step-00000-attempt-1",
        "checkpoint_digest": "d" * 32, "epoch": 3, "batches": 2, "recal_batches": 4,
        "eval_batch_hash": "e" * 32, "bn_recal_batch_hash": "b" * 32, "space": space.as_dict(),
    }  # fmt: skip
    (folder / "space.json").write_text(json.dumps(evaluation))
    runs = [write(folder / name, records) for name, records in
            (("a", SEGMENTS), ("a-run-with-a-rather-long-name-of-its-own-20260217", ELSEWHERE),
             ("c", course(epochs=1)))]  # fmt: skip
    words = ["report", *map(str, runs), "--space", str(folder / "space.json"),
             "--across-segments", "--out", str(folder / "r.html")]  # fmt: skip
    assert main(words) == 0
    return folder / "r.html"


@pytest.fixture(scope="module")
def looks(tmp_path_factory):
    """Return a page of two runs with pictures, one of many evaluations at EdgeFlowNAS's crop."""
    folder = tmp_path_factory.mktemp("looks")
    long, short = folder / "long", folder / "a-run-with-a-rather-long-name-of-its-own-20260217"
    records = course(epochs=30)
    large = {"size": (180, 240), "frame": (384, 512), "place": (102, 136)}
    write_pictures(write(long, records), records, **large)
    write_pictures(write(short, course(epochs=3)), course(epochs=3), place=None)
    words = ["report", str(long), str(short), "--across-segments", "--out", str(folder / "r.html")]
    assert main(words) == 0
    return folder / "r.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(chromium(), tmp_path_factory.mktemp("profile")) as found:
        yield found


def test_the_page_of_the_whole_space_is_under_3_mb(page):
    assert page.stat().st_size < 3_000_000


def test_a_page_of_pictures_of_many_evaluations_is_under_6_mb(looks):
    assert looks.stat().st_size < 6_000_000


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_overlap_nowhere_and_are_all_loaded(looks, tab, width, scheme):
    tab.said.clear()
    tab.asked.clear()
    tab.open(looks, width=width, scheme=scheme)
    assert tab.value(LAYOUT) == []
    assert tab.said == []
    assert {address for address in tab.asked if not address.startswith("data:")} == {looks.as_uri()}
    assert tab.value("Promise.all([...document.images].map(one => one.decode()))"
                     ".then(all => all.length)") > 100  # fmt: skip


SHOWN = (
    "[...document.querySelector('.predicts').querySelectorAll('[data-at]')]"
    ".filter(one => one.checkVisibility()).map(one => one.dataset.at.split(' '))"
)


def test_the_slider_shows_each_epoch_by_the_keyboard(looks, tab):
    tab.open(looks, width=390, scheme="dark")
    epochs = tab.value("document.querySelector('.predicts').dataset.epochs").split()
    assert (epochs[0], epochs[-1]) == ("1", "30")
    tab.value("document.querySelector('.scrub input').focus()")
    for key, code, epoch in (("Home", 36, epochs[0]), ("ArrowRight", 39, epochs[1]),
                             ("End", 35, epochs[-1]), ("ArrowLeft", 37, epochs[-2])):  # fmt: skip
        for kind in ("keyDown", "keyUp"):
            tab("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)
        assert tab.value("document.querySelector('.scrub output').textContent") == epoch
        shown = tab.value(SHOWN)
        assert shown
        assert all(epoch in at for at in shown)
        # The other run's stays where it was.
        assert tab.value("document.querySelectorAll('.scrub output')[1].textContent") == "3"
        assert tab.value(LAYOUT) == []
    spoken = tab.value("document.querySelector('.scrub input').ariaValueText")
    assert spoken == f"epoch {epochs[-2]}"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overlaps_nothing_is_fetched_and_the_console_is_silent(page, tab, width, scheme):
    tab.said.clear()
    tab.asked.clear()
    seconds = tab.open(page, width=width, scheme=scheme)
    assert tab.value(LAYOUT) == []
    assert tab.said == []
    assert set(tab.asked) == {page.as_uri()}
    assert seconds < 2
    paper = tab.value("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]
    # Each plot of archs has points in it: of the colour of a run, in this theme.
    assert tab.value(
        "[...document.querySelectorAll('canvas')].every(one => one.getContext('2d')"
        ".getImageData(0, 0, one.width, one.height).data.some(value => value > 0))"
    )


POINT = (
    "(() => {{ const plot = document.querySelectorAll('{kind}')[{number}]; plot.scrollIntoView();"
    " const box = plot.getBoundingClientRect(); plot.dispatchEvent(new PointerEvent('pointermove',"
    " {{clientX: box.left + {x} * box.width, clientY: box.top + {y} * box.height}}));"
    " const tip = document.querySelector('.tip');"
    " return tip.hidden ? '' : [...tip.children].map(line => line.textContent).join('|'); }})()"
)


def test_the_pointer_shows_values_of_the_nearest_epoch_and_arch(page, tab):
    tab.open(page, width=1280, scheme="light")
    shown = tab.value(POINT.format(kind=".plot.curves", number=4, x=0.99, y=0.5)).split("|")
    last = [row for row in SEGMENTS if type(row).__name__ == "EpochRecord"][-1]
    assert shown[0] == f"epoch {last.epoch}"
    assert shown[1] == f"a loss: {last.train_loss_epoch_avg:.6g} mean of the epoch"
    found = tab.value(
        "(() => { const data = read(document.querySelector('.archs')); const archs ="
        " readArchs(data); return [archs.names, [...archs.epe], archs.macs, archs.parameters,"
        " data.front]; })()"
    )
    space = scored_space(ARCHS, EPE, skeleton="full", width=32, size=SIZE)
    assert found == [
        list(ARCHS), list(EPE), list(space.cost("macs")), list(space.cost("parameters")),
        {kind: space.front(kind) for kind in ("macs", "parameters")},
    ]  # fmt: skip
    shown = tab.value(POINT.format(kind="canvas", number=0, x=0.4, y=0.5)).split("|")
    arch = shown[0].split()[1].rstrip(",")
    assert shown[1] == f"EPE {EPE[ARCHS.index(arch)]:.6g} px"


@pytest.mark.parametrize("width", [390, 1280])
def test_tau_of_two_rankings_is_seen_whatever_they_are_called(page, tab, width):
    tab.open(page, width=width, scheme="light")
    beyond = (
        "[...document.querySelectorAll('th')].filter(one => one.textContent === 'tau-b').map(one =>"
        " one.getBoundingClientRect().right - document.documentElement.clientWidth)"
    )
    found = tab.value(beyond)
    assert found != []
    assert max(found) <= 0


def test_tables_sort_by_their_titles(page, tab):
    tab.open(page, width=390, scheme="light")
    column = (
        "[...[...document.querySelectorAll('th')].find(one => one.textContent === 'EPE (px)')"
        ".closest('table').rows].slice(1).map(row => Number(row.cells[1].textContent))"
    )
    press = (
        "[...document.querySelectorAll('th button')].find(one => one.textContent === 'EPE (px)')"
        ".click()"
    )
    before = tab.value(column)
    tab.value(press)
    assert tab.value(column) == sorted(before) != before
    tab.value(press)
    assert tab.value(column) == sorted(before, reverse=True)
