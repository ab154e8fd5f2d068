"""The pages in a browser, where there is one: no error, every picture loads, tables sort."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detectors.report import beside
from detectors.report.page import page
from detectors.report.reading import read_run
from tests.report.test_page import run, shown

pytestmark = pytest.mark.slow  # a browser is started for each page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LISTEN = """<script>
window.faults = [];
window.addEventListener("error", (event) => window.faults.push(event.message));
console.error = (...told) => window.faults.push(told.join(" "));
</script>"""
ASK = """<script>
window.addEventListener("load", async () => {
  const links = [...document.querySelectorAll("image")].map((one) => one.getAttribute("href"));
  const sizes = [];
  for (const link of links) {
    const picture = new Image();
    picture.src = link;
    await picture.decode().catch((error) => window.faults.push(String(error)));
    sizes.push([picture.naturalWidth, picture.naturalHeight]);
  }
  const table = document.querySelector("table.sortable");
  const read = () => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent.trim());
  const orders = [read()];
  for (const _ of [0, 1]) { table.tHead.rows[0].cells[1].click(); orders.push(read()); }
  const ground = getComputedStyle(document.body).backgroundColor;
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  const found = {faults: window.faults, sizes, orders, ground, wide};
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>"""

Open = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Opens a page, asks it and gives what it says."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")

    def call(text: str, width: int = 1000, *flags: str) -> dict[str, Any]:
        file = tmp_path_factory.mktemp("page") / "page.html"
        asked = text.replace("<head>", f"<head>{LISTEN}").replace("</body>", f"{ASK}</body>")
        file.write_text(asked)
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=9000"]
        size = f"--window-size={width},900"
        command = [browser, *words, size, *flags, "--dump-dom", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        told = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
        assert told, done.stdout[-2000:]
        return json.loads(told[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))

    return call


@pytest.mark.parametrize("width", [1200, 500])
def test_a_report_opens_without_an_error(width: int, opened: Open, tmp_path: Path) -> None:
    found = opened(shown(run(tmp_path / "a")), width)
    assert found["faults"] == []
    assert found["sizes"] == [[64, 64]]
    assert not found["wide"]  # tables scroll in themselves, the page does not


def test_a_table_sorts_by_its_numbers_and_turns(opened: Open, tmp_path: Path) -> None:
    """Of several runs: the first table has the scores of the first run in its second column."""
    runs = [read_run(run(tmp_path / name)) for name in "ab"]
    before, falling, rising = opened(beside.page(runs))["orders"]
    assert sorted(before) == sorted(falling)
    assert falling == rising[::-1]
    numbers = [float(text) for text in falling if text[0].isdigit()]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) > 1


def test_the_page_is_dark_where_that_is_wished(opened: Open, tmp_path: Path) -> None:
    told = read_run(run(tmp_path / "a"))
    text = page(told, lambda number: None, dict)
    grounds = {opened(text, 1000, *flags)["ground"] for flags in ((), ("--force-dark-mode",))}
    assert len(grounds) == 2
