"""A lab's panel as a page of its own, as `dgmlab dashboard` serves it, in Chromium."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from .conftest import ARTEFACTS, drag, until

pytestmark = pytest.mark.browser


class Dashboard:
    """`dgmlab dashboard LAB`, and pages of it that note what they ask for."""

    def __init__(self, lab: str, folder, browser):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.browser, self.folder, self.log = browser, folder, folder / "dashboard.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DGMLAB_", "PYTEST_"))}
        environment |= {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        environment |= {"DGMLAB_DATA": str(folder / "data"), "IPYTHONDIR": str(folder / "ipython")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dgmlab", "dashboard", lab, "--no-browser", "--port", str(self.port)], cwd=folder,
            env=environment, stdout=open(self.log, "wb"), stderr=subprocess.STDOUT)
        self.asked: list[str] = []

        def serves():
            assert self.process.poll() is None, self.log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        until(serves, "it serves", 90)

    def visit(self):
        page = self.browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(f"http://127.0.0.1:{self.port}/", timeout=120_000)
        page.wait_for_selector("button.jupyter-button:visible", timeout=120_000)
        return page

    def kernels(self) -> int:
        return self.log.read_text().count("Kernel started:") - self.log.read_text().count("Kernel shutdown:")

    def close(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def dashboard(tmp_path, browser):
    opened = []

    def open_(lab: str) -> Dashboard:
        opened.append(Dashboard(lab, tmp_path, browser))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def press(page, name: str):
    page.locator("button.jupyter-button", has_text=name).first.click()


def status(page) -> str:
    return page.locator(".widget-html-content").filter(has_text="seed").first.inner_text()


def step(page) -> int:
    return int(status(page).split()[1].replace(",", ""))


def pictures(page) -> list[list[int]]:
    return page.evaluate("""() => [...document.querySelectorAll('img.widget-image')].map(
        image => [image.clientWidth, image.clientHeight, image.naturalWidth])""")


def assert_it_fits(page):
    """Pictures are there, and no control runs over the edge of the page."""
    assert all(width > 100 and height > 50 and drawn > 100 for width, height, drawn in pictures(page))
    over = page.evaluate("""() => [...document.querySelectorAll('.jupyter-widgets')].filter(each => {
        const box = each.getBoundingClientRect();
        return box.width && (box.left < 0 || box.right > document.documentElement.clientWidth); }).length""")
    assert over == 0
    assert not page.locator(".jp-InputArea").filter(has_text="import").count(), "there is code on the page"


def test_the_vae_for_two_visitors(dashboard):
    served = dashboard("03")
    page = served.visit()
    assert page.title() == "Lab 03 · The variational autoencoder" and "ready: press Start" in status(page)
    press(page, "Start")
    until(lambda: step(page) > 30, "it trains")
    before = page.locator("img.widget-image").last.get_attribute("src")
    handle = page.locator(".widget-slider", has_text="KL weight").locator(".noUi-handle")
    drag(page, handle, 80)
    readout = page.locator(".widget-slider", has_text="KL weight").locator(".widget-readout")
    until(lambda: float(readout.inner_text()) > 2, "the slider moves")
    at = step(page)
    until(lambda: step(page) > at + 30, "it goes on training")
    until(lambda: page.locator("img.widget-image").last.get_attribute("src") != before, "the trace is drawn")
    press(page, "Pause")
    until(lambda: "paused" in status(page), "it pauses")
    press(page, "Save")
    saved = until(lambda: list((served.folder / "sessions").glob("*.json")), "what Save writes is kept")
    session = json.loads(saved[0].read_text())
    assert any(event["knob"] == "beta" and event["value"] > 2 for event in session["knobs"]["log"])
    assert_it_fits(page)
    page.screenshot(path=ARTEFACTS / "dashboard_03.png")

    other = served.visit()
    assert step(other) == 0 and "ready" in status(other) and served.kernels() == 2, "they share a kernel"
    other.goto("about:blank")                   # as closing does for a person; Playwright's own ends the page too early
    until(lambda: served.kernels() == 1, "a page that is left takes its kernel along")
    assert step(page) > 0
    page.close()
    outside = {url for url in served.asked if not url.startswith((f"http://127.0.0.1:{served.port}/", "data:", "blob:",
                                                                  f"ws://127.0.0.1:{served.port}/"))}
    assert not outside, outside


def test_the_game_of_the_gan(dashboard):
    served = dashboard("06")
    page = served.visit()
    press(page, "Start")
    until(lambda: step(page) > 10, "it trains")
    minimax = page.locator("button.widget-toggle-button", has_text="minimax")
    minimax.click()
    until(lambda: "mod-active" in minimax.get_attribute("class"), "the loss is switched")
    at = step(page)
    until(lambda: step(page) > at + 10, "it goes on")
    press(page, "Pause")
    until(lambda: "paused" in status(page), "it pauses")
    press(page, "Save")
    saved = until(lambda: list((served.folder / "sessions").glob("*.json")), "it is saved")
    log = json.loads(saved[0].read_text())["knobs"]["log"]
    assert [(event["knob"], event["value"]) for event in log] == [("loss", "minimax")]
    assert_it_fits(page)
    assert page.locator("mjx-container, .MathJax").count(), "formulas are set"
    page.screenshot(path=ARTEFACTS / "dashboard_06.png")
