"""A student's way through lab 08, in a real JupyterLab."""

from __future__ import annotations

import time

import pytest

from dgmlab.experiments import replay

from .conftest import drag, until

pytestmark = pytest.mark.browser


def panel_of(notebook, words: str):
    """Run all up to the panel's cell and wait until it is there; returns the buttons by name."""
    page = notebook.page
    notebook.run_cells(0, next(i for i, source in enumerate(notebook.cells()) if words in source))

    def button(name):
        return page.locator("button.jupyter-button", has_text=name).last

    until(lambda: button("Start").is_visible(), "the panel appears", 120)
    return button


def test_letters_turn_while_the_cycle_weight_moves(open_notebook):
    notebook = open_notebook("08_cyclegan.ipynb")
    page, button = notebook.page, panel_of(notebook, "translation_panel(")
    images = page.locator("img.widget-image")
    time.sleep(1)
    before = images.nth(0).screenshot()
    button("Start").click()
    until(lambda: notebook.ask("run.step") > 20, "it trains", 120)
    until(lambda: images.nth(0).screenshot() != before, "the letters turn")
    drag(page, page.locator(".widget-slider", has_text="cycle weight").locator(".noUi-handle"), -300)
    until(lambda: notebook.ask("run.knobs.cycle") == 0, "λ is 0")
    at = notebook.ask("run.step")
    # 400 steps may be over on a fast machine: then it goes on from there.
    until(lambda: notebook.ask("run.step") > at + 20 or (not notebook.ask("run.live.training") and
                                                          notebook.ask("run.start()") is None), "it goes on", 120)
    until(lambda: notebook.ask("run.step") > at + 20, "it trains without the cycle", 120)
    notebook.command("application:toggle-left-area")
    time.sleep(1.5)
    notebook.screenshot("08_steered")
    notebook.ask("run.pause()")
    until(lambda: not notebook.ask("run.live.training"), "it pauses")
    time.sleep(1)
    notebook.screenshot("08_panel")
    log = notebook.ask("run.knobs.log")
    assert {event["knob"] for event in log} == {"cycle"} and log[-1]["value"] == 0, log
    if notebook.ask("run.step") < 400:                      # to the same bits, in another process
        button("Save").click()
        session = until(lambda: next((notebook.server.labs / "sessions").glob("08_cyclegan-*.json"), None), "saved")
        until(lambda: page.get_by_text("saved sessions/").is_visible(), "it says where")
        assert replay(session).exact


def test_photographs_take_on_colours(open_notebook):
    notebook = open_notebook("08_cyclegan.ipynb")
    page = notebook.page
    code = "from dgmlab.experiments.translation import make_run\nsmall, steps, seed, scale = False, 600, 0, 'lab'"
    page.evaluate("""async code => { const kernel =
        window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        await kernel.requestExecute({code}).done; }""", code)
    cell = next(i for i, source in enumerate(notebook.cells()) if "photograph_panel(" in source)
    notebook.run_cells(cell, cell)
    start = page.locator("button.jupyter-button", has_text="Start").last
    until(start.is_visible, "the panel appears", 120)
    images = page.locator("img.widget-image")
    time.sleep(1)
    before = images.nth(0).screenshot()
    start.click()
    until(lambda: notebook.ask("photo_run.step") > 15, "it trains", 120)
    until(lambda: images.nth(0).screenshot() != before, "the photographs change")
    drag(page, page.locator(".widget-slider", has_text="identity weight").locator(".noUi-handle"), 100)
    until(lambda: notebook.ask("photo_run.knobs.identity") > 3, "the identity weight is up")
    notebook.command("application:toggle-left-area")
    time.sleep(1.5)
    notebook.screenshot("08_photographs")
    notebook.ask("photo_run.pause()")
