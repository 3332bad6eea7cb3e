"""A newcomer's first minute in lab 00, in a real JupyterLab: five images are copied, many are not."""

from __future__ import annotations

import time

import pytest

from .conftest import until

pytestmark = pytest.mark.browser


class Bench:
    """The workbench as a person sees it."""

    def __init__(self, notebook):
        self.notebook, self.page = notebook, notebook.page
        self.cell = next(i for i, source in enumerate(notebook.cells()) if "memorising_bench(" in source)
        notebook.run_cells(0, self.cell)
        until(lambda: self.button("Start").is_visible(), "the workbench appears", 90)

    def button(self, name: str):
        return self.page.locator("button.jupyter-button:visible", has_text=name).first

    def choose(self, text: str, group: int):
        """Press a button of the first or second row of choices."""
        self.page.locator(".widget-toggle-buttons").nth(group).get_by_text(text, exact=True).click()

    def speed(self, name: str):
        self.page.locator(".widget-dropdown:visible", has_text="speed").locator("select").select_option(name)

    def text(self, words: str):
        return self.page.locator(".widget-html-content:visible").filter(has_text=words).first.inner_text()

    def pictures(self) -> list[bytes]:
        images = self.page.locator("img.widget-image:visible")
        return [images.nth(i).screenshot() for i in range(images.count())]

    def ratio(self) -> float:
        return self.notebook.ask("bench.panel.pictures['distances'].collect(bench.run)['title'].split()[3]")


def test_copies_turn_into_new_images(open_notebook):
    bench = Bench(open_notebook("00_start_here.ipynb"))
    notebook = bench.notebook
    assert "34,884" in bench.text("P =") and "320" in bench.text("P =")
    notebook.screenshot("00_ready")
    before = bench.pictures()
    assert len(before) == 4
    bench.button("Start").click()
    until(lambda: notebook.ask("bench.run.step") > 1000, "it trains", 60)
    until(lambda: all(one != other for one, other in zip(before, bench.pictures())), "every picture is redrawn")
    assert float(bench.ratio()) < 0.5, "five images were not memorised"
    until(lambda: "2,000 steps done, Start goes on" in bench.text("step "), "it pauses by itself", 60)
    notebook.screenshot("00_five")

    bench.choose("1,197", 0)
    until(lambda: notebook.ask("len(bench.run.images)") == 1197, "a new run with all images", 15)
    bench.speed("100 steps/s")                  # so that a fast machine is not done before Pause is pressed
    until(lambda: "76,608" in bench.text("P ="), "the line says so")
    until(lambda: notebook.ask("bench.run.step") > 600, "the new run trains as the old one did", 60)
    bench.speed("30 steps/s")
    assert 0.8 < float(bench.ratio()) < 2
    time.sleep(1)
    notebook.screenshot("00_all")
    threads = notebook.ask("[t.name for t in __import__('threading').enumerate() if t.name == 'dgmlab training']")
    assert len(threads) == 1, threads

    bench.button("Pause").click()
    until(lambda: not notebook.ask("bench.run.live.training"), "it pauses")
    bench.choose("4", 1)
    until(lambda: "P = 612" in bench.text("P ="), "a narrow network", 15)
    assert notebook.ask("bench.run.step") == 0 and not notebook.ask("bench.run.live.training")
    until(lambda: "ready" in bench.text("step 0"), "it waits for Start")
    notebook.screenshot("00_narrow")
