"""`studio app` from end to end: its own server, a real Chromium, and the actions of a user."""

import base64
import csv
import io
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from support.experiments import tiny

from studio.config import load, resolve
from studio.report.blocks import Table
from studio.report.page import STYLE, TEMPLATES
from studio.templates import load_templates
from studio.training.session import train

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 60_000  # ms, on a busy machine
# Sets a slider as a hand does, and returns the ms until the new picture was painted.
MOVE = """([place, value]) => new Promise((done) => {
  const slider = document.querySelector(`#slider-${place} input[type=range]`);
  const before = document.querySelector('#img-result').src, begin = performance.now();
  const end = () => done(performance.now() - begin);
  const painted = () => requestAnimationFrame(() => requestAnimationFrame(end));
  const seen = new MutationObserver(() => {
    const image = document.querySelector('#img-result');
    if (image && image.src !== before) { seen.disconnect(); image.decode().then(painted); }
  });
  const kinds = { subtree: true, childList: true, attributes: true };
  seen.observe(document.querySelector('#live'), kinds);
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(slider, value);
  slider.dispatchEvent(new Event('input', { bubbles: true }));
})"""


class Visit:
    """A page, with the errors that the browser reported."""

    def __init__(self, page: Any, log: Path) -> None:
        self.page, self.log = page, log
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.set_default_timeout(WAIT)
        page.on(
            "console",
            lambda line: self.complaints.append(line.text) if line.type == "error" else None,
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or ""))

    def source(self, name: str) -> str:
        return self.page.locator(f"#img-{name}").get_attribute("src")

    def pixels(self, name: str) -> np.ndarray:
        return np.asarray(
            Image.open(io.BytesIO(base64.b64decode(self.source(name).split(",")[1])))
        ).astype(int)

    def until_new(self, name: str, before: str) -> None:
        self.page.wait_for_function(
            "([n, s]) => document.querySelector(`#img-${n}`).src !== s", arg=[name, before]
        )

    def slide(self, place: int, value: float) -> float:
        return self.page.evaluate(MOVE, [place, str(value)])

    def stop(self, place: int) -> float:
        return float(self.page.locator(f"#slider-{place} input[type=range]").input_value())

    def press(self, name: str, changed: str) -> None:
        before = self.source(changed)
        self.page.click(f"#{name}")
        self.until_new(changed, before)

    def told(self) -> str:
        """Returns the one message in the page, and closes it."""
        toast = self.page.get_by_test_id("toast-body")
        toast.wait_for()
        words = self.page.get_by_test_id("toast-text").inner_text()
        self.page.get_by_test_id("toast-close").click()
        toast.wait_for(state="detached")
        return words


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


@contextmanager
def visit(folder: Path, browser: Any) -> Iterator[Visit]:
    """Starts `studio app` on a port of its own and opens it."""
    log, root = folder.parent / "server.log", str(Path(__file__).resolve().parent.parent.parent)
    command = [
        sys.executable,
        "-c",
        "from studio.cli import main; main()",
        "app",
        str(folder),
        "--port",
        "0",
        "--device",
        "cpu",
    ]
    own = {
        **os.environ,
        "HOME": str(folder.parent),
        "TMPDIR": str(folder.parent),
        "PYTHONPATH": root,
    }
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "env": own}
    with log.open("w") as errors, subprocess.Popen(command, stderr=errors, **pipes) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            address = re.search(r"open (http://127\.0\.0\.1:\d+/)", line)
            assert address, (line, log.read_text())
            seen = Visit(browser.new_page(viewport={"width": 1280, "height": 900}), log)
            seen.page.goto(address[1])
            seen.page.wait_for_selector("#img-result")
            yield seen
            seen.page.close()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):  # an impatient person
                server.send_signal(number)
            try:
                ended = server.wait(120)
            finally:
                server.kill()  # or the block would wait for it for ever
    assert ended == 0, log.read_text()
    assert not list(folder.parent.glob("studio-app-*")), "nothing is left behind"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Visit]:
    # Contrastive PCA is trained in no time, and moving any of its codes can be seen.
    folder = tmp_path_factory.mktemp("site") / "pca"
    train(tiny("cpca"), folder)
    with visit(folder, browser) as seen:
        yield seen


def test_page_follows_choice_sliders_heal_swap_and_reset(site: Visit) -> None:
    first = site.source("a")
    site.page.locator("#gallery-A button.thumbnail-item").nth(4).click()
    site.until_new("a", first)
    assert np.ptp(site.pixels("change"), axis=(0, 1)).max() == 0, "no change before a slider moves"
    assert site.source("result") == site.source("rebuilt")
    own, stop = site.source("result"), site.stop(0)
    site.slide(0, stop - 1 if stop > 0 else stop + 1)
    assert np.abs(site.pixels("result") - site.pixels("rebuilt")).max() > 3
    assert np.ptp(site.pixels("change"), axis=(0, 1)).max() > 3
    site.slide(0, stop)
    assert site.source("result") == own, "back at its own place the slider changes nothing"
    site.press("heal", "result")
    assert site.source("result") == site.source("healed")
    site.press("take", "result")
    assert site.source("result") == site.source("swapped")
    site.press("reset", "result")
    assert (site.source("result"), site.stop(0)) == (own, stop)
    assert len({site.source(name) for name in ("rebuilt", "healed", "swapped")}) == 3


def test_page_updates_swap_and_traverse_tabs(site: Visit) -> None:
    site.page.get_by_role("tab", name="Swap").click()
    before = site.source("swap-01")
    site.page.locator("#gallery-B button.thumbnail-item").nth(7).click()
    site.until_new("swap-01", before)
    site.page.get_by_role("tab", name="Traverse").click()
    site.page.wait_for_selector(".strips img")
    assert site.page.locator(".strips img").count() == 3
    strip = site.page.locator(".strips img").first.get_attribute("src")
    site.page.locator("#gallery-A button.thumbnail-item").nth(9).click()
    site.page.wait_for_function("s => document.querySelector('.strips img').src !== s", arg=strip)
    site.page.get_by_role("tab", name="Explore").click()


def test_page_generates_images_by_seed(site: Visit) -> None:
    def draw(seed: int) -> None:
        site.page.get_by_label("Seed").fill(str(seed))
        site.page.click("#draw")

    site.page.get_by_role("tab", name="Generated images").click()
    draw(5)
    site.page.locator("#new button.thumbnail-item").nth(17).wait_for()
    shown = "() => [...document.querySelectorAll('#new img')].map(image => image.src).join()"
    five = site.page.evaluate(shown)
    draw(6)
    site.page.wait_for_function(f"s => ({shown})() !== s", arg=five)
    draw(5)
    site.page.wait_for_function(f"s => ({shown})() === s", arg=five)
    before = site.source("a")
    site.page.locator("#new button.thumbnail-item").nth(1).click()
    site.until_new("a", before)
    site.page.locator("#img-a").wait_for()  # the tab has turned
    assert "generated target 2 (seed 5)" in site.page.locator("#live figcaption").first.inner_text()
    assert site.source("a") == site.source("rebuilt") == site.source("result"), (
        "its code is the one that was drawn"
    )


def test_page_accepts_or_refuses_uploads_with_one_message(site: Visit, tmp_path: Path) -> None:
    def upload(name: str) -> None:
        site.page.locator("input[type=file]").first.set_input_files(tmp_path / name)

    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "good <i>.png")
    (tmp_path / "notes.png").write_text("not an image")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    (tmp_path / "heavy.png").write_bytes(bytes(11 * 2**20))
    before = site.source("a")
    upload("good <i>.png")
    site.until_new("a", before)
    good = site.source("a")
    gray = np.asarray(Image.fromarray(noise[4:36]).convert("L")).astype(int)
    assert np.abs(site.pixels("a") - gray).max() <= 1, "the centre, as gray"
    for name, message in {
        "notes.png": "notes.png: is no PNG, JPEG, TIFF, WebP or BMP, despite its name",
        "huge.png": "huge.png: is 10000 x 10000 pixels: expected at least 1 and at most 67108864",
        "heavy.png": 'File(s) exceed the maximum allowed size of 10.0 Mb: "heavy.png"',
    }.items():
        upload(name)
        assert site.told() == message
        assert site.source("a") == good, "the page is as it was"


def test_page_offers_result_and_codes_for_download(site: Visit) -> None:
    with site.page.expect_download() as picture:
        site.page.get_by_role("link", name="Result (PNG)").click()
    assert picture.value.suggested_filename.endswith("_result.png")
    assert np.array_equal(np.asarray(Image.open(picture.value.path())), site.pixels("result"))
    with site.page.expect_download() as table:
        site.page.get_by_role("link", name="Codes (CSV)").click()
    head, own, result = csv.reader(
        io.StringIO(Path(table.value.path()).read_text(encoding="utf-8"))
    )
    assert head == ["file", "z0", "z1", "z2", "z3", "s0", "s1", "s2"]
    assert own[1:] == result[1:], "no slider has moved"


def test_page_fits_a_narrow_screen(site: Visit) -> None:
    site.page.set_viewport_size({"width": 400, "height": 900})
    for name in ("Swap", "Traverse", "Explore"):
        site.page.get_by_role("tab", name=name).click()
        assert site.page.evaluate("() => document.documentElement.scrollWidth") <= 400, name
    site.page.set_viewport_size({"width": 1280, "height": 900})


def test_page_causes_no_browser_errors_and_no_foreign_requests(site: Visit) -> None:
    # The last test of this page.
    assert site.complaints == []
    assert site.hosts - {""} == {"127.0.0.1"}, "data in the page itself has no host"
    assert "Traceback" not in site.log.read_text()


def test_report_on_a_phone_breaks_no_number_and_no_word(browser: Any) -> None:
    numbers = ["digit", "clustering accuracy", "-0.02996", "-0.01965", "2,000"]
    path = ["command", *["x/" * 60] * 4]
    head = ["attribute", "measure", "salient", "common", "n"]
    blocks = load_templates(TEMPLATES).get_template("blocks.html.jinja").module
    body = blocks.table(Table("caption", head, [numbers, path]))
    phone = browser.new_page(viewport={"width": 390, "height": 844})
    style = STYLE.read_text(encoding="utf-8")
    phone.set_content(f"<html><head><style>{style}</style></head><body>{body}</body></html>")
    lines = """cell => { const range = document.createRange(); range.selectNodeContents(cell);
      return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size; }"""
    found = phone.locator("tr").evaluate_all(
        f"rows => rows.map(row => [...row.children].map({lines}))"
    )
    assert found[0] == [1] * 5
    assert found[1] in ([1] * 5, [1, 2, 1, 1, 1])
    assert all(count > 2 for count in found[2][1:]), "what is too long for any page is broken"
    assert phone.evaluate("() => document.documentElement.scrollWidth") <= 390, (
        "the table scrolls by itself"
    )
    phone.close()


def test_page_moves_the_planes_of_volumes(tmp_path: Path, browser: Any) -> None:
    raw = {
        "data": {"name": "brain_phantom", "dims": 3, "resolution": 32},
        "nets": {"width": 2},
        "method": {"name": "vae", "z": 4, "s": 2},
        "train": {"images": 4, "batch": 4, "threads": 1, "grid_every": 0},
    }
    train(resolve(raw, "volumes", "volumes"), tmp_path / "volumes")
    with visit(tmp_path / "volumes", browser) as site:
        before, first = site.pixels("a"), site.source("a")
        assert before.shape == (65, 65)
        # A hand that moves the slider of the coronal plane, which is at the top left.
        site.page.evaluate(
            """() => {
              const slider = document.querySelector('#plane-coronal input[type=range]');
              const value = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value');
              value.set.call(slider, 5);
              slider.dispatchEvent(new Event('input', { bubbles: true }));
            }"""
        )
        site.until_new("a", first)
        after = site.pixels("a")
        assert (after[:32, :32] != before[:32, :32]).mean() > 0.3
        assert np.array_equal(after[:32, 33:], before[:32, 33:]), "the sagittal plane stays"
        assert np.array_equal(after[33:, :32], before[33:, :32]), "so does the axial one"
        site.slide(0, 1.4)
        assert np.array_equal(site.pixels("a"), after), "the planes stay when the code moves"
        site.page.screenshot(path=str(tmp_path / "page.png"))
        assert not site.complaints


@pytest.mark.slow
def test_slider_answers_within_300_ms_at_64_px(tmp_path: Path, browser: Any) -> None:
    folder = tmp_path / "phantom"
    train(
        load("brain_phantom_dig", ["train.images=64", "train.threads=1", "train.grid_every=0"]),
        folder,
    )
    with visit(folder, browser) as site:
        times = [site.slide(i % 8, round(0.9 - 0.07 * i, 2)) for i in range(20)]
        print("ms", sorted(round(ms) for ms in times))
        assert statistics.median(times) < 300
