"""A session saved in a lab is handed in and projected: its sliders move by themselves, in a real JupyterLab."""

from __future__ import annotations

import time

import pytest

from dgmlab import notebooks, sessions
from dgmlab.training.session import load_session

from .conftest import LabPage, drag, until

pytestmark = pytest.mark.browser


def test_save_in_a_lab_then_play_the_file(open_notebook, monkeypatch):
    lab = LabPage(open_notebook("03_vae.ipynb"))
    labs = lab.notebook.server.labs
    lab.run("parameters", "panel")
    until(lambda: lab.cell("panel").locator("button", has_text="Start").is_visible(), "the panel appears", 90)
    lab.press("panel", "Start")
    until(lambda: lab.ask("run.step") > 60, "it trains")
    drag(lab.page, lab.slider("panel", "KL weight"), 90)
    moved = until(lambda: lab.ask("run.knobs.log"), "the slider reaches the run")
    # Between two values of the slider, and set from a cell: the page must not send back what it makes of it.
    lab.ask("setattr(run.knobs, 'beta', 5.555)")
    until(lambda: lab.ask("run.knobs.log[-1]['value']") == 5.555, "so does the cell")
    lab.press("panel", "Pause")
    until(lambda: lab.page.get_by_text("paused").is_visible(), "it pauses")
    lab.press("panel", "Save")
    until(lambda: lab.page.get_by_text("saved sessions/").is_visible(), "it is saved")
    path, = (labs / "sessions").glob("03_vae-*.json")
    session = load_session(path)
    assert moved[0] in session["knobs"]["log"]

    monkeypatch.setattr(notebooks, "labs_folder", lambda: labs)     # the server's copy of the labs
    made = sessions.recording(path)
    played = LabPage(open_notebook(made.relative_to(labs).as_posix()))
    played.run("panel")
    cell = played.cell("panel")
    until(lambda: cell.locator("button", has_text="Start").is_visible(), "the panel appears", 90)
    played.ask("globals().update(panel=_, run=_.run, speed=setattr(_.speed, 'value', 0.0)) or 1")
    at = played.slider("panel", "KL weight").bounding_box()["x"]
    assert "Start plays it" in cell.inner_text()
    time.sleep(1)
    played.notebook.screenshot("play_ready")
    played.press("panel", "Start")
    until(lambda: played.ask("run.step") > moved[0]["step"] + 5, "it plays")
    until(lambda: played.slider("panel", "KL weight").bounding_box()["x"] > at + 20, "the slider moves by itself")
    until(lambda: not played.ask("run.live.training"), "it pauses by itself", 120)
    assert played.ask("run.knobs.log") == session["knobs"]["log"] and played.ask("run.step") == session["steps"]
    until(lambda: "gave the same numbers, to the last bit" in cell.inner_text(), "it says that its numbers hold")
    assert "paused" in cell.inner_text()
    played.show("panel", "play_end")

    played.press("panel", "Reset")
    until(lambda: played.ask("run.step") == 0, "back to its beginning")
    played.ask("setattr(panel.speed, 'value', 30.0) or 1")              # else it may be over before the hand is there
    played.press("panel", "Start")
    until(lambda: played.ask("run.step") > 5, "it plays again")
    played.press("panel", "Pause")
    drag(played.page, played.slider("panel", "KL weight"), 60)
    until(lambda: "taken over at step" in cell.inner_text(), "a hand takes over")
    assert played.ask("run.knobs._agenda") == []
