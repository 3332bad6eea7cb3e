"""The panel of lab 05 in a real JupyterLab: free nats open the code, sentences can be typed, answers asked for."""

from __future__ import annotations

import pytest

from .conftest import until

pytestmark = pytest.mark.browser


def open_small(open_notebook, last: str):
    """The notebook at its smallest scale, run up to the cell that holds ``last``."""
    notebook = open_notebook("05_language_vae.ipynb")
    notebook.page.evaluate("""() => {
        const cell = window.jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel;
        cell.setSource(cell.source.replace('scale = "lab"', 'scale = "smoke"')
                                  .replace('corpus = "docstrings"', 'corpus = "grammar"')); }""")
    notebook.run_cells(0, next(i for i, source in enumerate(notebook.cells()) if last in source))
    return notebook


def test_free_nats_open_the_code_and_sentences_can_be_typed(open_notebook):
    notebook = open_small(open_notebook, "language_panel(run")
    page = notebook.page

    def button(name):
        return page.locator("button.jupyter-button", has_text=name).first

    until(lambda: button("Start").is_visible(), "the panel appears", 90)
    notebook.idle()
    button("Start").click()
    until(lambda: notebook.ask("run.step") > 300, "it trains")
    before = notebook.ask("float(run.history.column('kl')[-50:].mean())")
    handle = page.locator(".widget-slider", has_text="free nats").locator(".noUi-handle")
    handle.scroll_into_view_if_needed()
    handle.focus()
    for _ in range(50):
        page.keyboard.press("ArrowRight")
    until(lambda: notebook.ask("run.knobs.free_bits") > 0.25, "the slider reaches the run")
    at = notebook.ask("run.step")
    until(lambda: notebook.ask("run.step") > at + 1000, "it goes on training")
    assert notebook.ask("float(run.history.column('kl')[-50:].mean())") > before + 0.3
    notebook.screenshot("05_panel")

    box = page.locator(".widget-text input").first
    box.fill("tomorrow this pilot sleeps")
    box.press("Enter")
    until(lambda: page.get_by_text("sleeps are not in the vocabulary").count() or
          page.get_by_text("The words sleeps").count(), "a word that is not known is told")
    typed = notebook.ask("text.words(text.test.tokens[5])")
    box.fill(typed)
    box.press("Enter")
    until(lambda: page.get_by_text("not in the vocabulary").count() == 0, "the complaint goes away")
    button("Pause").click()
    until(lambda: "paused" in page.locator(".widget-html-content").filter(has_text="step").first.inner_text(), "paused")


def test_answers_can_be_asked_for(open_notebook):
    notebook = open_small(open_notebook, "ask(talk")
    page = notebook.page
    again = page.locator("button.jupyter-button", has_text="draw again").first
    until(lambda: again.count() and again.is_visible(), "the widget appears", 180)
    again.scroll_into_view_if_needed()
    picture = page.locator("img.widget-image").last
    before = picture.screenshot()
    notebook.screenshot("05_answers")
    again.click()
    until(lambda: picture.screenshot() != before, "other answers")
    box = page.locator(".widget-text input").last
    box.fill("purple prose")
    box.press("Enter")
    until(lambda: page.get_by_text("not in it: prose, purple").count(), "words that are not known are told")
