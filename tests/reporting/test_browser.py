"""A report page as a browser shows it; skips where there is none."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

QUIET = "gpu quic background-networking component-update sync extensions default-apps"

PROBE = """
<script>
const tall = one => one.getBoundingClientRect().height > 0;
const step = link => new Promise(done => {
  addEventListener("hashchange", () => setTimeout(done), {once: true});
  link.click();
});
addEventListener("load", async () => {
  const panels = [...document.querySelectorAll("#set0 .panel")];
  const measured = {inner: innerWidth, page: document.documentElement.scrollWidth, cells: []};
  for (const link of document.querySelectorAll("#set0 .matrix a")) {
    const panel = document.querySelector(link.hash), before = tall(panel);
    link.focus();
    const focused = document.activeElement === link;
    await step(link);
    const top = Math.min(...panels.filter(tall).map(one => one.getBoundingClientRect().top));
    const images = [...panel.querySelectorAll("img")];
    const found = {key: link.hash, open: panel.classList.contains("open"), before, focused, after: tall(panel),
      first: panel.getBoundingClientRect().top === top, number: parseInt(link.firstChild.textContent),
      images: images.filter(one => one.naturalWidth > 0 && tall(one)).length,
      wide: document.documentElement.scrollWidth};
    await step(panel.querySelector(".back"));
    measured.cells.push({...found, closed: tall(panel)});
  }
  parent.postMessage(measured, "*");
});
</script>
"""

OUTER = """
<script>
const measured = [];
onmessage = event => {
  measured.push(event.data);
  if (measured.length === 2) document.title = JSON.stringify(measured);
};
</script>
<iframe src="inner.html" width="390" height="800" style="border:0"></iframe>
<iframe src="inner.html" width="1280" height="800" style="border:0"></iframe>
"""


@pytest.fixture(scope="session")
def browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("needs a headless Chromium: apt-get install chromium")
    return found


def browse(browser: str, page: Path, profile: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Open a page; console messages come on stderr, the page as it is at last on stdout."""
    command = [browser, "--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars", "--enable-logging=stderr"]
    command += [f"--disable-{name}" for name in QUIET.split()]
    command += ["--virtual-time-budget=200000", f"--user-data-dir={profile}", *more, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


def test_a_browser_asks_for_nothing_and_complains_of_nothing(browser: str, page: Path, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    done = browse(browser, page, tmp_path / "profile", f"--log-net-log={log}")
    assert "</html>" in done.stdout, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    asked = re.findall(r'"url":"((?:https?|wss?|ftp)://[^"]+)"', log.read_text(encoding="utf-8"))
    assert not [url for url in asked if not re.search(r"google|gvt1|chromium", url)], (
        "requests of the browser itself do not count"
    )


def test_it_fits_on_a_phone_and_every_number_shows_its_images(browser: str, page: Path, tmp_path: Path) -> None:
    """In frames, since headless windows are 500 wide at least; in a copy that lets a script in, which clicks."""
    text = re.sub(r"<meta http-equiv[^>]+>", "", page.read_text(encoding="utf-8"))
    (tmp_path / "inner.html").write_text(text + PROBE, encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(OUTER, encoding="utf-8")
    done = browse(browser, outer, tmp_path / "profile", "--window-size=1700,900")
    found = re.search(r"<title>(.*?)</title>", done.stdout)
    assert found, f"the clicks came to no end: {done.stderr[-2000:]}"
    for measured in (frames := json.loads(found[1])):
        assert measured["page"] == measured["inner"], "something sticks out at the side"
        assert len(measured["cells"]) == len(re.findall(r'<a href="#set0-\d+-\d+" aria-label', text))
        for cell in measured["cells"]:
            assert cell["focused"] and cell["after"] and cell["first"], cell
            assert cell["before"] == cell["closed"] == cell["open"], (
                "a panel that was opened is hidden again when it is closed"
            )
            assert cell["images"] == min(8, cell["number"]) and cell["wide"] == measured["inner"], cell
    assert sorted(measured["inner"] for measured in frames) == [390, 1280]
    assert any(not cell["open"] for cell in frames[0]["cells"]), "some panels are shown only after a click"
