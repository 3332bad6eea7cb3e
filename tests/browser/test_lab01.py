"""A student's way through the widgets of lab 01, in a real JupyterLab."""

from __future__ import annotations

import time

import pytest

from .conftest import drag, until

pytestmark = pytest.mark.browser
LAB = "01_generator_networks.ipynb"


def cell(notebook, words: str) -> int:
    return next(i for i, source in enumerate(notebook.cells()) if words in source)


def show_cell(notebook, index: int):
    notebook.page.evaluate("""async i => { const notebook = window.jupyterapp.shell.currentWidget.content;
        await notebook.scrollToItem(i, 'start'); }""", index)
    time.sleep(1)


def execute(notebook, code: str):
    notebook.page.evaluate("""async code => {
        const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        await kernel.requestExecute({code: code}).done; }""", code)


def test_drag_a_weight(open_notebook):
    notebook = open_notebook(LAB)
    first = cell(notebook, "drag_generator(")
    notebook.run_cells(0, first)
    page = notebook.page
    picture = page.locator("img.widget-image").first
    until(lambda: picture.is_visible(), "the widget appears", 90)
    show_cell(notebook, first)
    notebook.screenshot("01_hand")
    before, score = picture.get_attribute("src"), notebook.ask("hand.score")
    height = page.locator(".widget-slider", has_text="height").first.locator(".noUi-handle")
    drag(page, height, -60)
    until(lambda: notebook.ask("hand.weights()['height'][0]") < 0.7, "the slider reaches the weight")
    until(lambda: picture.get_attribute("src") != before, "the picture follows")
    assert notebook.ask("hand.score") != score
    height.focus()                                      # by keyboard; how long until the picture has followed
    spent = []
    for _ in range(5):
        before, began = picture.get_attribute("src"), time.monotonic()
        page.keyboard.press("ArrowRight")
        while picture.get_attribute("src") == before and time.monotonic() - began < 5:
            time.sleep(0.01)
        spent.append(time.monotonic() - began)
    assert min(spent) < 1, spent
    print("seconds from key to picture:", [round(each, 2) for each in spent])
    page.locator("button", has_text="fold").first.click()
    until(lambda: notebook.ask("len(hand.data['turns'])") == 2, "a button sets all weights at once")
    notebook.screenshot("01_fold")


def test_train_on_samples_and_change_the_criterion(open_notebook):
    notebook = open_notebook(LAB)
    page = notebook.page
    notebook.run_cells(0, 1)
    notebook.idle()
    execute(notebook, "from dgmlab.experiments.generators import make_run")
    panel = cell(notebook, "generator_panel(run")
    notebook.run_cells(panel, panel)
    start = page.locator("button.jupyter-button", has_text="Start").first
    until(lambda: start.is_visible(), "the panel appears", 90)
    show_cell(notebook, panel)
    start.click()
    until(lambda: notebook.ask("run.step") > 150, "it trains")
    width = page.locator(".widget-slider", has_text="kernel width").first.locator("[disabled]")
    assert width.count(), "the energy distance has no width, yet its slider can be moved"
    page.locator("button", has_text="MMD").first.click()
    until(lambda: notebook.ask("run.knobs.criterion") == "MMD", "the criterion is changed in mid-run")
    until(lambda: not width.count(), "the width belongs to the MMD")
    at = notebook.ask("run.step")
    until(lambda: notebook.ask("run.step") > at + 50, "it goes on")
    notebook.screenshot("01_panel")
    page.locator("button.jupyter-button", has_text="Pause").first.click()


def test_slide_a_code(open_notebook):
    notebook = open_notebook(LAB)
    page = notebook.page
    notebook.run_cells(0, 1)
    notebook.idle()
    execute(notebook, "steps = 150\nimport torch\nfrom dgmlab.rng import Rng\n"
                      "from dgmlab.experiments.generators import make_run\n"
                      "from dgmlab.widgets.generators import generator_panel")
    execute(notebook, "from dgmlab.widgets import generators\nwhole = generators.slide_code\n"
                      "def noted(*given):\n    global shown\n    shown = whole(*given)\n    return shown\n"
                      "generators.slide_code = noted")
    first, last = cell(notebook, "images, untrained ="), cell(notebook, "slide_code({")
    notebook.run_cells(first, last)
    slider = page.locator(".widget-slider", has_text="z3").first.locator(".noUi-handle")
    until(lambda: slider.is_visible(), "the sliders appear", 240)
    show_cell(notebook, first)
    notebook.screenshot("01_digits")
    show_cell(notebook, last)
    picture = page.locator("img.widget-image").last
    before = picture.get_attribute("src")
    drag(page, slider, 50)
    until(lambda: picture.get_attribute("src") != before, "the digit follows")
    until(lambda: notebook.ask("shown.moved") == 2 and notebook.ask("shown.z[2].item()") > 0.5, "z3 alone was moved")
    assert not notebook.ask("images.live.training"), "it still trains"
    time.sleep(1)
    notebook.screenshot("01_code")
