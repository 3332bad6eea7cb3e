"""The live panels with a keyboard alone, and as a screen reader finds them, in a real JupyterLab."""

from __future__ import annotations

import re

import pytest

from .conftest import LabPage, until

pytestmark = pytest.mark.browser

FOCUS = """() => {
    const e = document.activeElement, style = getComputedStyle(e);
    return {name: e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent,
            seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1,
            inside: Boolean(e.closest('.jp-OutputArea-output')), panel: Boolean(e.closest('.jupyter-widgets'))}; }"""
ACTIVE = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"


class Keyboard:
    """A page that is only typed at. The panel's own buttons, sliders and so on are reached by Tab."""

    def __init__(self, lab: LabPage, cell: str):
        self.page, self.output = lab.page, lab.cell(cell).locator(".jp-OutputArea-output").first
        until(lambda: self.output.locator("button.jupyter-button").first.is_visible(), "the panel appears", 90)
        until(lambda: self.nameless() == [], "everything has a name", 20)

    def nameless(self) -> list[str]:
        """What a screen reader would find without a name."""
        tree = self.output.aria_snapshot()
        return [line for line in tree.splitlines()
                if re.fullmatch(r"\s*- (button|slider|combobox|textbox|checkbox|group|img)(:| \[.*\]:?)?", line)]

    def to(self, name: str, back: bool = False):
        """Tab until something with this name has the focus."""
        for _ in range(60):
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
            focus = self.page.evaluate(FOCUS)
            if focus["panel"] and focus["name"].strip().startswith(name):
                assert focus["seen"], f"the focus on {name} cannot be seen"
                return
        raise AssertionError(f"{name} is not reached with the Tab key")

    def press(self, *keys: str):
        for key in keys:
            self.page.keyboard.press(key)

    def order(self) -> list[dict]:
        """What has the focus in turn, from the first button until the Tab key leaves the output."""
        self.output.locator("button.jupyter-button").first.focus()
        found = []
        while (focus := self.page.evaluate(FOCUS))["inside"]:
            found.append(focus)
            assert len(found) < 60, "the Tab key does not lead out"
            self.press("Tab")
        return found


def test_the_panel_of_lab_03_by_keyboard(open_notebook):
    lab = LabPage(open_notebook("03_vae.ipynb"))
    lab.run(*lab.ids[:lab.ids.index("panel") + 1])
    keys, ask = Keyboard(lab, "panel"), lab.ask
    assert [e for e in keys.order() if e["panel"] and not e["seen"]] == []
    names = [focus["name"].strip() for focus in keys.order()]
    expected = ["Start", "Step", "Reset", "Save", "speed", "KL weight β", "KL weight β, as a number", "moved",
                "learning rate", "learning rate, as a number", "latent map", "with the noise of q", "show the images",
                "t-SNE from scratch", "steps shown"]
    assert [name for name in names if name in expected] == expected             # from left to right, from top to bottom

    keys.output.locator("button.jupyter-button").first.focus()
    keys.to("KL weight β")
    active = lab.page.evaluate(ACTIVE)                  # the panel's cell, now that the focus is in it
    for key, beta in (("ArrowRight", 1.05), ("ArrowUp", 1.1), ("ArrowLeft", 1.05), ("End", 8.0), ("Home", 0.0)):
        keys.press(key)
        until(lambda beta=beta: ask("run.knobs.beta") == beta, f"{key} moves the knob", 20)
    handle = lab.slider("panel", "KL weight")
    until(lambda: handle.get_attribute("aria-valuetext") == "0.00", "the slider says its value as it is shown")
    keys.to("KL weight β, as a number")
    keys.press("Control+a")
    lab.page.keyboard.type("2.5")
    keys.press("Enter")
    until(lambda: ask("run.knobs.beta") == 2.5, "a number can be typed", 20)
    keys.to("moved")
    keys.press("ArrowDown")
    until(lambda: ask("[event['knob'] for event in run.knobs._pending if 'schedule' in event]") == ["beta"],
          "the menu's arrow key chooses a schedule", 20)
    keys.to("learning rate")
    keys.press("ArrowRight")
    until(lambda: ask("run.knobs.lr") == 0.002, "the learning rate", 20)
    until(lambda: lab.slider("panel", "learning rate").get_attribute("aria-valuetext") == "0.002", "in words, no index")
    keys.to("with the noise of q")
    keys.press("Space")
    until(lambda: not keys.output.locator("input[type=checkbox]").first.is_checked(), "a box is ticked off", 20)
    assert lab.page.evaluate(ACTIVE) == active, "a key meant for the panel moved the notebook"

    keys.to("Start", back=True)
    keys.press("Enter")
    until(lambda: ask("run.step") > 0, "it trains", 60)
    until(lambda: lab.page.evaluate(FOCUS)["name"].strip() == "Pause", "the focus goes on to Pause", 20)
    keys.press("Space")
    until(lambda: not ask("run.live.training"), "it pauses", 20)
    until(lambda: lab.page.evaluate(FOCUS)["name"].strip() == "Step", "and on to Step", 20)
    step = ask("run.step")
    until(lambda: f"Step {step:,}." in (keys.output.locator("img").first.get_attribute("alt") or ""),
          "the pictures say in words what they show at this step", 20)
    assert len(keys.output.locator(".dgmlab-alt li").all()) == len(keys.output.locator("img").all()) == 5


def test_rows_of_buttons_and_ranges_by_keyboard(open_notebook):
    lab = LabPage(open_notebook("06_gan.ipynb"))
    lab.run("parameters", "line-panel")
    keys = Keyboard(lab, "line-panel")
    chosen = keys.output.locator(".widget-toggle-buttons").first.locator("button[aria-pressed=true]")
    assert chosen.count() == 1
    other = keys.output.locator(".widget-toggle-buttons").first.locator("button[aria-pressed=false]").first
    name = other.inner_text().strip()
    keys.output.locator("button.jupyter-button").first.focus()
    keys.to(name)
    keys.press("Space")
    until(lambda: chosen.inner_text().strip() == name, "which one is chosen is told, not only coloured", 20)
    assert lab.ask(f"{name!r} in (line.knobs.turn, line.knobs.loss)")

    lab = LabPage(open_notebook("04_kl_vanishing.ipynb"))
    lab.run("parameters", "schedule-drag")
    keys = Keyboard(lab, "schedule-drag")
    keys.output.locator("[role=slider]").first.focus()
    keys.press("ArrowRight")
    until(lambda: lab.ask("drawn.schedule.cycles") == 5, "a cycle more", 20)
    keys.to("start, stop, upper end")
    keys.press("End")
    until(lambda: lab.ask("drawn.schedule.stop") == 2.0, "the upper end of a range", 20)
    until(lambda: "2" in (keys.output.locator("img").first.get_attribute("alt") or ""), "in words", 20)
