"""A student's way through lab 02, in a real JupyterLab."""

from __future__ import annotations

import time

import pytest

from .conftest import drag, until

pytestmark = pytest.mark.browser


def test_pick_codes_while_it_trains(open_notebook):
    notebook = open_notebook("02_autoencoders.ipynb")
    page = notebook.page
    cell = next(i for i, source in enumerate(notebook.cells()) if "autoencoder_panel(" in source)
    notebook.run_cells(0, cell)
    start = page.locator("button.jupyter-button", has_text="Start").first
    until(start.is_visible, "the panel appears", 90)
    start.click()
    until(lambda: notebook.ask("run.step") > 600, "it trains")
    notebook.screenshot("02_training")
    page.locator("button.jupyter-button", has_text="Pause").first.click()
    until(lambda: not notebook.ask("run.live.training"), "it pauses")
    frames = notebook.ask("panel._frames")
    images = page.locator("img.widget-image")
    time.sleep(1)
    before = images.nth(4).screenshot()
    drag(page, page.locator(".widget-slider", has_text="code 1").locator(".noUi-handle"), -120)
    until(lambda: notebook.ask("panel._frames") > frames, "the screen is updated")
    until(lambda: images.nth(4).screenshot() != before, "another code, another image", 5)
    errors = notebook.ask("[run.history.column(name)[-1].item() for name in ('loss', 'held_out')]")
    assert all(0 < error < 0.06 for error in errors), errors
    notebook.command("application:toggle-left-area")
    time.sleep(1.5)
    notebook.screenshot("02_panel")


def test_drag_a_code_along_the_horseshoe(open_notebook):
    notebook = open_notebook("02_autoencoders.ipynb")
    page = notebook.page
    page.evaluate("""async () => {
        const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        await kernel.requestExecute({code: `
from dgmlab.experiments import autoencoders as ae
seed, scale = 0, "lab"`}).done; }""")
    cell = next(i for i, source in enumerate(notebook.cells()) if "drag_code(" in source)
    notebook.run_cells(cell, cell)
    image = page.locator("img.widget-image").first
    until(image.is_visible, "the picture appears", 90)
    until(lambda: image.bounding_box()["width"] > 500, "at its size")
    time.sleep(1)
    before = image.screenshot()
    drag(page, page.locator(".widget-slider .noUi-handle").first, 150)
    until(lambda: image.screenshot() != before, "the code moves on both lines", 5)
    notebook.screenshot("02_drag")
