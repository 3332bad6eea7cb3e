"""A student's way through the panels of lab 04, in a real JupyterLab."""

from __future__ import annotations

import numpy as np
import pytest

from dgmlab.experiments import replay

from .conftest import LabPage, drag, until

pytestmark = pytest.mark.browser


def opened(open_notebook, server) -> LabPage:
    """Lab 04 with short schedules."""
    path = server.labs / "04_kl_vanishing.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("steps = 1500", "steps = 600"), encoding="utf-8")
    return LabPage(open_notebook(path.name))


def handle(page, id, slider: int):
    return page.cell(id).locator(".widget-slider .noUi-handle").nth(slider)


def test_cutting_path_b_brings_the_code_back(open_notebook, server):
    page = opened(open_notebook, server)
    page.run("parameters", "panel")
    page.press("panel", "Start")
    ask = page.ask
    until(lambda: ask("run.step") > 250, "it trains", 90)
    before = ask("run.history.column('kl')[-50:].mean()")
    drag(page.page, handle(page, "panel", 1), 400)
    until(lambda: ask("run.knobs.word_dropout") > 0.95, "the slider reaches the run")
    at = ask("run.step")
    until(lambda: ask("run.step") > at + 350, "it goes on training", 90)
    page.show("panel", "04_cut")
    page.press("panel", "Pause")
    assert ask("run.history.column('kl')[-50:].mean()") > max(1.0, 3 * before), "z did not come back"


def test_three_runs_in_step_then_a_schedule_by_hand(open_notebook, server):
    page = opened(open_notebook, server)
    page.run("parameters", "panel", "paths-picture", "schedule-drag", "side-by-side")
    ask = page.ask
    drag(page.page, handle(page, "schedule-drag", 0), 60)
    until(lambda: ask("drawn.schedule.cycles") > 4, "the schedule follows its slider")
    page.show("schedule-drag", "04_schedule")
    page.press("side-by-side", "Start")
    until(lambda: ask("together.run.step") > 60, "they train", 60)
    page.show("side-by-side", "04_side_by_side")
    until(lambda: ask("together.run.step") == 600 and not ask("together.run.live.training"), "they pause", 120)
    assert ask("together.run.live.error is None")
    assert set(ask("[each.step for each in runs.values()]")) == {600}
    assert ask("sorted(together.run.seen['cyclical'])") == ask("sorted(looks)")
    page.press("side-by-side", "Save")
    until(lambda: len(list((server.labs / "sessions").glob("04_schedules*.json"))) == 3, "a session for each run")

    page.run("hand-panel")
    page.press("hand-panel", "Start")
    until(lambda: ask("hand.step") > 40, "it trains", 60)
    drag(page.page, handle(page, "hand-panel", 0), -180)
    until(lambda: ask("hand.knobs.beta") < 0.5, "the hand reaches the run")
    page.show("hand-panel", "04_by_hand")
    until(lambda: ask("hand.step") == 600 and not ask("hand.live.training"), "it stops at the end", 120)
    beta = np.array(ask("hand.history.column('beta').tolist()"))
    assert (beta[-60:] == 1).all() and beta.min() < 0.5
    until(lambda: page.page.get_by_text("of 10 draws of z, yours name").first.is_visible(), "the score is told")
    page.show("hand-panel", "04_score")
    page.press("hand-panel", "Save")
    session = until(lambda: list((server.labs / "sessions").glob("04_by_hand*.json")), "it is saved")[0]
    assert replay(session).exact
