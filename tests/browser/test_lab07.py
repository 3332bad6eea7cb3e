"""A student's way through the two widgets of lab 07, in a real JupyterLab."""

from __future__ import annotations

import pytest

from .conftest import LabPage, drag, until

pytestmark = pytest.mark.browser
LAB = "07_judging_generators.ipynb"


def picture(page, id):
    image = page.cell(id).locator("img.widget-image").first
    until(image.is_visible, "the picture appears", 120)
    return image


def kernel(notebook, code: str):
    notebook.page.evaluate("""async code => {
        const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        await kernel.requestExecute({code}).done; }""", code)


def test_spoil_a_generator_by_hand(open_notebook):
    page = LabPage(open_notebook(LAB))
    page.run("parameters", "spoil")
    kernel(page.notebook, "hand = _")
    ask = page.ask
    image = picture(page, "spoil")
    until(lambda: image.bounding_box()["width"] > 900, "at its size")
    assert ask("str(hand.faults)").startswith("no fault")
    page.show("spoil", "07_spoil")
    before = image.screenshot()
    page.cell("spoil").locator("button.jupyter-button", has_text="copies all").click()
    until(lambda: ask("hand.faults.memorised") == 1 and hand_values(ask)["frechet"] < 1e-6, "all are copies")
    until(lambda: image.screenshot() != before, "the board is drawn anew")
    page.show("spoil", "07_copies")
    page.cell("spoil").locator("button.jupyter-button", has_text="perfect").click()
    until(lambda: ask("hand.faults.memorised") == 0 and hand_values(ask)["copies"] == 0, "no fault is left")
    drag(page.page, page.slider("spoil", "classes dropped"), 120)
    until(lambda: ask("hand.faults.dropped") >= 2 and hand_values(ask)["recall"] < 0.95, "recall falls")
    drag(page.page, page.slider("spoil", "blur, pixels"), 100)
    until(lambda: ask("hand.faults.blur") > 0.2, "the blur reaches the generator")
    page.show("spoil", "07_dropped")


def hand_values(ask):
    return ask("{name: float(value) for name, value in hand.values.items()}")


def test_drag_the_annealing(open_notebook):
    page = LabPage(open_notebook(LAB))
    page.run("parameters")
    page.run("anneal")
    kernel(page.notebook, "chains = _")
    ask, image = page.ask, picture(page, "anneal")
    until(lambda: image.bounding_box()["width"] > 900, "at its size")
    page.show("anneal", "07_anneal")
    before = image.screenshot()
    drag(page.page, page.slider("anneal", "temperatures T"), 120)
    until(lambda: ask("len(chains.way.betas)") > 50, "more temperatures")
    until(lambda: image.screenshot() != before, "the picture follows")
    before = image.screenshot()
    drag(page.page, page.slider("anneal", "place on the way"), 100)
    until(lambda: ask("chains.at.value") > 0.6, "the place reaches the widget")
    until(lambda: image.screenshot() != before, "the picture follows")
    page.cell("anneal").locator("button.jupyter-button", has_text="between the legs").click()
    until(lambda: ask("chains.way.exact[-1]") < -4, "another x")
    page.show("anneal", "07_anneal_moved")
    assert abs(ask("chains.way.forward - chains.way.exact[-1]")) < 3
