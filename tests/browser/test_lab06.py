"""A student's way through the panels of lab 06, in a real JupyterLab."""

from __future__ import annotations

import pytest

from dgmlab.experiments import replay

from .conftest import LabPage, drag, until

pytestmark = pytest.mark.browser
LAB = "06_gan.ipynb"


def test_switch_the_loss_while_it_trains(open_notebook, server):
    page = LabPage(open_notebook(LAB))
    ask = page.ask
    page.run("parameters", "line-panel", "toggle-panel")
    until(lambda: page.cell("toggle-panel").locator("button", has_text="D alone").is_visible(), "the panel appears", 90)
    page.press("toggle-panel", "D alone")
    until(lambda: ask("ring.step") == 150 and not ask("ring.live.training"), "D has trained alone, and it rests", 120)
    norms = ask("[ring.history.column(f'grad_{name}')[-1] for name in ('minimax', 'nonsaturating')]")
    assert norms[0] < 1e-2 * norms[1], "D is not sure"
    page.press("toggle-panel", "minimax")
    until(lambda: ask("ring.knobs.loss") == "minimax", "the switch reaches the run")
    ask("setattr(ring.knobs, 'eps', 1e-3)")
    page.press("toggle-panel", "Start")
    until(lambda: ask("ring.step") > 250, "it trains on", 120)
    page.show("toggle-panel", "06_minimax", output=True)

    page.press("toggle-panel", "non-saturating")
    log = until(lambda: [e for e in ask("ring.knobs.log") if e.get("value") == "non-saturating"], "the log shows it")
    at = log[0]["step"]
    until(lambda: ask("ring.step") > at + 100, "it trains on", 120)
    page.show("toggle-panel", "06_switched", output=True)
    page.press("toggle-panel", "Pause")
    until(lambda: not ask("ring.live.training"), "it pauses")
    before = ask(f"ring.history.column('grad_minimax')[{at} - 1]")          # of the loss in use, step by step
    after = ask(f"ring.history.column('grad_nonsaturating')[{at}]")
    assert after > 1e3 * before, f"the gradient in use went from {before} to {after}"
    shown = ask("{k: float(v[-1]) for k, v in panel.pictures['norms'].collect(ring)['values'].items()}")
    assert set(shown) == {"minimax", "non-saturating"}                      # powers of ten, as drawn
    knobs = [(event["knob"], event.get("value")) for event in ask("ring.knobs.log")]
    assert {("turn", "discriminator"), ("turn", "alternate"), ("loss", "minimax")} <= set(knobs)
    page.press("toggle-panel", "Save")
    session = until(lambda: list((server.labs / "sessions").glob("06_toggle*.json")), "it is saved")[0]
    assert replay(session).exact


def test_one_player_at_a_time_and_the_smallest_game(open_notebook):
    page = LabPage(open_notebook(LAB))
    ask = page.ask
    page.run("parameters", "line-panel", "circles-drag")
    start = ask("line.model.generator.slope.item()")
    page.press("line-panel", "discriminator")
    page.press("line-panel", "Start")
    until(lambda: ask("line.step") > 40, "it trains", 90)
    assert ask("line.model.generator.slope.item()") == start, "the generator moved, too"
    page.show("line-panel", "06_line", output=True)
    page.press("line-panel", "generator")
    until(lambda: ask("line.knobs.turn") == "generator", "the knob follows")
    at = ask("line.step")
    until(lambda: ask("line.step") > at + 40, "it trains on", 90)
    page.press("line-panel", "Pause")
    assert ask("line.model.generator.slope.item()") != start
    page.show("line-panel", "06_line_generator", output=True)

    before = page.cell("circles-drag").locator("img.widget-image").screenshot()
    drag(page.page, page.cell("circles-drag").locator(".widget-slider .noUi-handle").nth(1), 120)
    until(lambda: page.cell("circles-drag").locator("img.widget-image").screenshot() != before, "the picture follows")
    page.show("circles-drag", "06_circles", output=True)


def test_the_learning_rates_of_the_images_fall_by_themselves(open_notebook):
    page = LabPage(open_notebook(LAB))
    page.run("parameters", "line-panel", "images-panel")
    until(lambda: page.cell("images-panel").locator("button", has_text="Start").is_visible(), "the panel appears", 120)
    page.press("images-panel", "Start")
    until(lambda: page.ask("photos.step") > 100, "it trains", 180)
    page.show("images-panel", "06_images")
    assert page.ask("[e['knob'] for e in photos.knobs.log if 'schedule' not in e]") == []
    rate = page.ask("photos.history.column('lr_g').tolist()")
    assert all(before >= after for before, after in zip(rate, rate[1:])) and 0 < rate[100] < rate[0]
