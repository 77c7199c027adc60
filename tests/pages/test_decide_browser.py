"""The labelling page as people use it: keys, touch, reload, tables; skips without a headless Chromium."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.devtools import ALT, CTRL, META, SHIFT, Browser, find_browser

from cellclf.data.decisions import Decision, Decisions, load_decisions
from cellclf.pages.decide import write_label_page

pytestmark = pytest.mark.browser

IDS = ["007", "=1+1", "73928e05", "a#b", 'a,"b"', "ü", "x</script><b>"]
CLASSES = ["basophil", "immature_granulocyte", "neutrophil"]
MANY = [f"class_{k}" for k in range(14)]
SHOWN = "document.querySelector('#where').textContent + ': ' + document.querySelector('#state').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("needs a headless Chromium: apt-get install chromium")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "downloads").mkdir()
    browser = Browser(program, folder / "profile", folder / "downloads")
    yield browser
    browser.close()


def images_of(folder: Path, count: int) -> np.ndarray:
    """Pixels of a test's own, and so a store of its own."""
    seed = zlib.crc32(str(folder).encode())
    return np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)


def write(folder: Path, ids: list[str] = IDS, classes: list[str] = CLASSES, **more: Any) -> Path:
    return write_label_page(folder / "label ü #1.html", images_of(folder, len(ids)), ids, classes, **more)


def order(browser: Browser) -> list[str]:
    found: list[str] = browser.run("JSON.parse(document.getElementById('data').textContent).ids")
    return found


def save(browser: Browser, press: bool = True) -> Path:
    """Save by key; give the downloaded file."""
    for old in browser.downloads.iterdir():
        old.unlink()
    browser.key("s") if press else browser.tap("#save")
    return browser.downloaded()


def says(browser: Browser, where: str) -> str:
    text: str = browser.run(f"document.getElementById('{where}').textContent")
    return text


def test_from_the_first_cell_to_the_last_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path, next_step="Then run cellclf adapt."))
    ids = order(browser)
    assert browser.run("location.protocol") == "file:" and says(browser, "kept") == ""
    assert browser.run(SHOWN) == "Cell 1 of 7: not answered"
    for key, answered in zip("123ux12", range(1, 8), strict=True):
        assert browser.run("document.getElementById('done').hidden")
        browser.key(key)
        assert says(browser, "count") == f"{answered} of 7 answered"
    assert says(browser, "kept") == "kept in this browser"
    assert says(browser, "result").startswith("All 7 cells are answered: 5 labelled, 1 unsure, 1 not a cell")
    assert not browser.run("document.getElementById('done').hidden")
    path = save(browser)
    assert path.name == "labelled.csv" and "downloads" in says(browser, "told")
    read = load_decisions(path)
    assert not read.notices and read.ids == tuple(ids) and {*read.ids} == {*IDS}
    kinds = [(row.decision, row.label) for row in read]
    labels = [("label", name) for name in CLASSES]
    assert kinds == [*labels, ("unsure", ""), ("not_a_cell", ""), *labels[:2]]
    assert read.save(tmp_path / "again.csv").read_bytes() == path.read_bytes(), "both sides write the same"
    assert read.match(IDS, CLASSES).labels == read.labels
    assert browser.complaints() == []


def test_the_state_is_there_after_a_reload_and_in_another_window(browser: Browser, tmp_path: Path) -> None:
    page = write(tmp_path)
    browser.open(page)
    for key in "31":
        browser.key(key)
    browser.key("n")
    browser.type("odd 1u")
    browser.key("Escape")
    browser.reload()
    assert says(browser, "count") == "2 of 7 answered" and says(browser, "kept") == "kept in this browser"
    assert browser.run(SHOWN) == "Cell 3 of 7: not answered"
    assert browser.run("document.getElementById('note').value") == "odd 1u"
    browser.key("ArrowLeft")
    assert browser.run(SHOWN) == "Cell 2 of 7: basophil"
    assert browser.run("document.querySelector('[aria-pressed=true]').dataset.class") == "0"
    browser.open(write(tmp_path, seed=3, title="another order"))
    assert says(browser, "count") == "2 of 7 answered", "the same cells in another order"


def test_two_pages_share_no_store(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = write(tmp_path / "one", ["0", "1"]), write(tmp_path / "two", ["0", "1"])
    browser.open(first)
    browser.key("1")
    browser.open(second)
    assert says(browser, "count") == "0 of 2 answered"
    browser.key("2")
    browser.key("3")
    browser.open(first)
    assert says(browser, "count") == "1 of 2 answered"


BROKEN = {
    "throws": "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no') }})",
    "is full": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }",
    "forgets": "Storage.prototype.setItem = () => {}",
    "is not there": "Object.defineProperty(window, 'localStorage', {value: undefined})",
}


@pytest.mark.parametrize("way", BROKEN)
def test_a_browser_that_keeps_nothing_is_not_believed(browser: Browser, tmp_path: Path, way: str) -> None:
    script = browser("Page.addScriptToEvaluateOnNewDocument", source=BROKEN[way])["identifier"]
    try:
        browser.open(write(tmp_path))
        browser.key("1")
        assert says(browser, "kept") == "not kept in this browser: save the table before you close this page"
        assert says(browser, "count") == "1 of 7 answered"
        assert load_decisions(save(browser)).class_counts() == {"basophil": 1}
        assert browser.complaints() == []
        browser.key("2")
        browser("Page.reload")  # with an answer that is nowhere yet
        browser.wait("Page.javascriptDialogOpening")
        browser.wait("Page.loadEventFired")
    finally:
        browser("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_a_store_that_is_damaged_stops_nothing(browser: Browser, tmp_path: Path) -> None:
    page = write(tmp_path)
    browser.open(page)
    for damage in ("{", "7", '{"rows": 5}', '{"rows": [["007", 1, 2], null]}', '{"rows": [["007"]], "by": {}}'):
        browser.run(f"localStorage.setItem(JSON.parse(document.getElementById('data').textContent).key, {damage!r})")
        browser.reload()
        browser.key("1")
        assert says(browser, "count") == "1 of 7 answered", damage
        assert says(browser, "kept") == "kept in this browser"
        browser.key("z")


def test_an_answer_of_another_window_is_not_lost(browser: Browser, tmp_path: Path) -> None:
    """What another window has written in the meantime is in the store, and not yet in this page."""
    browser.open(write(tmp_path))
    ids = order(browser)
    key = "JSON.parse(document.getElementById('data').textContent).key"
    row = [ids[4], "label", "neutrophil", "", "BM", "2025-03-01T10:00:00Z"]
    browser.run(f"localStorage.setItem({key}, JSON.stringify({{by: '', rows: [{row!r}]}}))")
    browser.key("1")
    assert says(browser, "count") == "2 of 7 answered"
    assert load_decisions(save(browser)).labels == {ids[0]: "basophil", ids[4]: "neutrophil"}


def test_undo_and_going_back(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path))
    ids = order(browser)
    for key in "121":
        browser.key(key)
    for _ in range(2):
        browser.key("ArrowLeft")
    assert browser.run(SHOWN) == "Cell 2 of 7: immature granulocyte"
    browser.key("3")
    assert browser.run(SHOWN) == "Cell 4 of 7: not answered", "on to the next one without an answer"
    browser.key("z")
    assert browser.run(SHOWN) == "Cell 2 of 7: immature granulocyte"
    browser.key("Backspace")
    assert browser.run(SHOWN) == "Cell 3 of 7: not answered"
    browser.reload()
    assert says(browser, "count") == "2 of 7 answered", "what was undone does not come back"
    for key in ("ArrowRight", "Enter", "ArrowRight"):
        browser.key(key)
    assert browser.run(SHOWN) == "Cell 6 of 7: not answered"
    browser.key("1")
    browser.key("1")
    assert browser.run(SHOWN) == "Cell 3 of 7: not answered", "past the end, the first one that is open"
    assert list(load_decisions(save(browser)).labels) == [ids[0], ids[1], ids[5], ids[6]]
    browser.open(write(tmp_path, ["only one"]))
    browser.key("z")
    browser.key("1")
    browser.key("z")
    assert says(browser, "count") == "0 of 1 answered"


def test_fourteen_keys_and_the_number_pad(browser: Browser, tmp_path: Path) -> None:
    ids = [str(k) for k in range(30)]
    browser.open(write(tmp_path, ids, MANY))
    printed = browser.run("[...document.querySelectorAll('#classes kbd')].map(one => one.textContent)")
    assert len({*printed}) == 14 and printed[:10] == [*"1234567890"]
    others = browser.run("[...document.querySelectorAll('kbd')].map(one => one.textContent)")
    assert len({*others}) == len(others), "no key means two things"
    for key in printed:
        browser.key(key.lower())
    for digit in "123":
        browser.key(digit, f"Numpad{digit}")
    browser.key("End", "Numpad1")  # NumLock is off
    browser.key("&", "Digit1")  # a French keyboard
    browser.key("2", "Digit2", SHIFT)
    browser.key("ф", "KeyA")  # a Russian one
    browser.key("A", "KeyA")  # CapsLock
    found = [row.label for row in load_decisions(save(browser))]
    numbers = [*range(14), 0, 1, 2, 0, 0, 1, 10, 10]
    assert found == [f"class_{k}" for k in numbers] + [""] * 8


def test_fifty_classes_have_keys_too(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path, [str(k) for k in range(3)], [f"class_{k}" for k in range(50)]))
    assert browser.run("[...document.querySelectorAll('#classes kbd')].at(-1).textContent") == "⇧Y"
    browser.key("Y", "KeyY", SHIFT)
    browser.key("y", "KeyY", SHIFT)  # CapsLock turns it round
    browser.key("y")
    assert [row.label for row in load_decisions(save(browser))] == ["class_49", "class_49", "class_29"]


def test_keys_that_mean_something_else_are_left_alone(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path))
    for modifier in (CTRL, ALT, META):
        browser.key("1", modifiers=modifier)
        browser.key("z", modifiers=modifier)
    browser.key("1", repeat=True)
    browser.key("q")
    browser.key("F1")
    assert says(browser, "count") == "0 of 7 answered"
    browser.key("n")
    browser.type("x1 u")
    browser.key("1", "Numpad1")
    assert says(browser, "count") == "0 of 7 answered"
    browser.key("Enter")
    browser.key("2")
    assert says(browser, "count") == "1 of 7 answered"
    browser.run("document.getElementById('by').focus()")
    browser.type("ux")
    browser.key("Escape")
    browser.key("1")
    first, second = load_decisions(save(browser)).rows[:2]
    assert (first.note, first.by, first.label) == ("x1 u1", "", "immature_granulocyte")
    assert (second.by, second.label) == ("ux", "basophil")


def test_every_button_is_reached_by_tab(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path, guesses=[("neutrophil", 0.5)] * 7))
    browser.key("2")
    reached = []
    for _ in range(20):
        browser.key("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.textContent.trim()"))
    expected = ["1basophil", "2immature granulocyte", "3neutrophil", "Uunsure", "Xnot a cell", "back", "undo", "next"]
    assert reached[:13] == [*expected, "note", "switch", "save", "open", "by"]
    assert browser.run("[...document.querySelectorAll('button, input')].every(one => one.labels?.length || "
                       "one.textContent.trim() || one.ariaLabel)"), "everything has a name to be heard"  # fmt: skip
    browser.run("document.querySelector('[data-class=\"2\"]').focus()")
    browser.key("Enter")
    assert says(browser, "count") == "2 of 7 answered", "Enter is the button's there, not the page's"


def test_the_guess_is_hidden_until_there_is_an_answer_and_it_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path, guesses=[("neutrophil", 0.625)] * 7, reasons=["unsure of neutrophil"] * 7))
    seen = "document.querySelector('main').innerText"
    assert "62" not in browser.run(seen) and "unsure of" not in browser.run(seen)
    browser.key("1")
    assert browser.run(SHOWN).startswith("Cell 2") and says(browser, "guess") == ""
    browser.key("g")
    assert says(browser, "guess") == "", "not answered yet"
    browser.key("2")
    assert browser.run(SHOWN) == "Cell 2 of 7: immature granulocyte", "it stays, so that the guess can be read"
    assert says(browser, "guess") == "The classifier’s guess: neutrophil (63\u202f%)Why this cell: unsure of neutrophil"
    browser.key("Enter")
    assert browser.run(SHOWN) == "Cell 3 of 7: not answered" and says(browser, "guess") == ""


def test_ids_are_shown_only_if_asked_for(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path))
    everything = "document.querySelector('main').outerHTML"
    assert not any(id_ in browser.run(everything) for id_ in ("73928e05", "a#b", "=1+1"))
    browser.open(write(tmp_path, show_ids=True))
    for id_ in order(browser):
        assert browser.run("document.getElementById('where').textContent") == id_
        browser.key("ArrowRight")


def test_a_saved_table_is_added(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path))
    ids = order(browser)
    browser.key("1")
    browser.key("1")
    far, old = "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"
    rows = [
        Decision(ids[0], "label", "neutrophil", "later", "BM", far),
        Decision(ids[1], "label", "neutrophil", "", "BM", old),
        Decision(ids[2], "label", "blast", "", "BM", old),
        Decision(ids[3], "unsure", "", "", "BM", old),
        Decision(ids[4], "label", "neutrophil"),
        Decision("of another page", "unsure"),
    ]
    browser.choose("#file", Decisions(rows).save(tmp_path / "theirs.csv"))
    told = browser.until(lambda: says(browser, "told"))
    assert told == (
        "3 answers added from theirs.csv; 1 replaced by a later one; 1 row of other cells left out: keep that file; "
        "classes without a key here: blast."
    )
    read = load_decisions(save(browser))
    labels = [(row.decision, row.label, row.note) for row in read.rows[:5]]
    assert labels == [
        ("label", "neutrophil", "later"),
        ("label", "basophil", ""),
        ("label", "blast", ""),
        ("unsure", "", ""),
        ("label", "neutrophil", ""),
    ]
    browser.key("z")
    assert says(browser, "count") == "2 of 7 answered", "one undo for the whole table"
    browser.reload()
    assert says(browser, "count") == "2 of 7 answered"


def test_an_empty_table_takes_nothing_away_and_an_empty_page_saves_none(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path))
    browser.key("s")
    assert says(browser, "told") == "Nothing is answered yet, so there is nothing to save."
    browser.key("1")
    empty = Decisions([Decision(id_, time="2099-01-01T00:00:00Z") for id_ in IDS]).save(tmp_path / "empty.csv")
    browser.choose("#file", empty)
    assert browser.until(lambda: says(browser, "told")) == "0 answers added from empty.csv."
    assert says(browser, "count") == "1 of 7 answered"
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    browser.choose("#file", tmp_path / "other.csv")
    browser.until(lambda: says(browser, "told").startswith("other.csv is no table of this kind"))


@pytest.mark.parametrize("way", ["semicolons", "named", "windows", "utf-16", "one cell a line"])
def test_the_page_reads_what_a_spreadsheet_made_of_its_table(browser: Browser, tmp_path: Path, way: str) -> None:
    browser.open(write(tmp_path))
    ids = order(browser)
    rows = [
        Decision(id_, "label", CLASSES[k % 3], f"n;{k}", "", f"2025-03-01T10:00:0{k}Z") for k, id_ in enumerate(ids)
    ]
    if way == "one cell a line":  # where a line holds quotation marks, a spreadsheet loses which were whose
        rows = [row._replace(note="") for row in rows if row.id != 'a,"b"']
    text = Decisions(rows).save(tmp_path / "a.csv").read_bytes().decode("utf-8-sig")
    table = list(csv.reader(io.StringIO(text, newline="")))
    made = io.StringIO(newline="")
    csv.writer(made, delimiter="\t" if way == "utf-16" else ";").writerows(table)
    if way == "one cell a line":
        text = "".join('"' + line.replace('"', '""') + '"\r\n' for line in text.splitlines())
    else:
        text = ("sep=;\r\n" if way == "named" else "") + made.getvalue()
    encoding = {"windows": "cp1252", "utf-16": "utf-16", "named": "utf-8-sig"}.get(way, "utf-8")
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    browser.choose("#file", tmp_path / "a.csv")
    browser.until(lambda: says(browser, "told"))
    assert load_decisions(save(browser)).labels == {row.id: row.label for row in rows}


def test_by_touch_on_a_telephone(browser: Browser, tmp_path: Path) -> None:
    neighbours = [np.zeros((8, 16, 16, 3), np.uint8)] * 25
    page = write(tmp_path, [str(k) for k in range(25)], MANY, neighbours=neighbours, guesses=[("a", 0.5)] * 25)
    browser.resize(390, 844)
    browser("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        browser.open(page)
        browser.tap("[data-class='11']")
        browser.tap("[data-decision='not_a_cell']")
        browser.tap("#back")
        browser.tap("[data-class='0']")
        assert says(browser, "count") == "2 of 25 answered"
        browser.tap("#undo")
        browser.tap("#cells li:nth-child(5) button")
        assert browser.run(SHOWN) == "Cell 5 of 25: not answered"
        assert browser.run("document.documentElement.scrollWidth") == browser.run("innerWidth") == 390
        small = (
            "[...document.querySelectorAll('.decide button')].filter(one => one.getBoundingClientRect().height < 38)"
        )
        assert browser.run(f"{small}.length") == 0, "a finger finds every button"
        assert browser.run("getComputedStyle(document.querySelector('#classes kbd')).display") == "none"
        labels = [row.label or row.decision for row in load_decisions(save(browser, press=False)).rows[:3]]
        assert labels == ["class_11", "not_a_cell", ""]
        assert browser.complaints() == []
    finally:
        browser("Emulation.setTouchEmulationEnabled", enabled=False)
        browser.resize(1280, 800)


@pytest.mark.parametrize(("side", "scale"), [(24, 20), (96, 5), (200, 2)])
def test_the_image_is_large_and_its_pixels_are_squares(browser: Browser, tmp_path: Path, side: int, scale: int) -> None:
    images = np.random.default_rng(side).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    browser.open(write_label_page(tmp_path / "a.html", images, ["a"], CLASSES))
    box = browser.run("(b => [b.width, b.height])(document.getElementById('image').getBoundingClientRect())")
    assert box == [side * scale, side * scale]
    assert browser.run("getComputedStyle(document.getElementById('image')).imageRendering") == "pixelated"
    pixels = browser.run(
        "(async () => {const i = document.getElementById('image'); await i.decode(); const c = document.createElement("
        "'canvas'); c.width = i.naturalWidth; c.height = i.naturalHeight; const x = c.getContext('2d'); x.drawImage(i, "
        "0, 0); return [...x.getImageData(0, 0, c.width, c.height).data]})()"
    )
    np.testing.assert_array_equal(np.reshape(pixels, (side, side, 4))[..., :3], images[0])
