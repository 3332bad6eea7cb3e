"""The live panel without a browser: its widgets are moved from Python, its pictures are looked at as bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from dgmlab.errors import LabError
from dgmlab.experiments import gans, replay
from dgmlab.experiments.vae import make_run
from dgmlab.schedules import cosine_restarts, cyclical
from dgmlab.widgets import vae_panel
from dgmlab.widgets.controls import BY_HAND
from dgmlab.widgets.gans import gan_panel
from dgmlab.widgets.panel import Panel

from .support import until


@pytest.fixture
def panel(monkeypatch, tmp_path):
    monkeypatch.setenv("DGMLAB_LIVE", "1")
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    panel = vae_panel(make_run(), steps=300)
    yield panel
    panel.run.pause()


def control(panel, name):
    return next(c for c in panel.controls if c.name == name)


def test_it_draws_before_anything_is_pressed(panel):
    until(lambda: all(image.value for image in panel.images.values()), "every picture is there")
    assert "ready" in panel.status.value and not panel.painter.errors


def test_start_pause_step_and_what_the_status_says(panel):
    panel.buttons["start"].click()
    until(lambda: panel.run.step > 50, "it trains")
    before = panel.images["map"].value
    until(lambda: panel.images["map"].value != before, "the map is drawn again")
    panel.buttons["pause"].click()
    step = panel.run.step
    assert not panel.run.live.training and "paused" in panel.status.value and f"step {step:,}" in panel.status.value
    panel.buttons["step"].click()
    until(lambda: panel.run.step == step + 1, "one step")
    until(lambda: not panel.run.live.training, "and no more")
    assert panel.run.step == step + 1


def test_a_panel_that_stops_pauses_after_its_steps_and_start_goes_on(panel):
    assert panel.run.live.stint is None and panel.buttons["start"].tooltip == "Train until paused"
    panel = Panel(make_run(), panel.rows, ["beta"], steps=20, stop=True)
    run, live = panel.run, panel.run.live
    assert "20 steps" in panel.buttons["start"].tooltip and not live.rests
    panel.buttons["start"].click()
    until(lambda: live.rests, "it pauses by itself")
    until(lambda: "paused: 20 steps done, Start goes on" in panel.status.value, "it says why")
    assert run.step == 20 and not panel.buttons["start"].disabled
    panel.buttons["step"].click()
    until(lambda: run.step == 21 and not live.training, "one step")
    assert not live.rests
    panel.buttons["start"].click()
    until(lambda: live.rests, "it goes on to the next mark")
    assert run.step == 40
    run.start(steps=70)                             # more was asked for by code
    run.wait()
    until(lambda: live.rests, "it pauses")
    assert run.step == 110
    panel.buttons["reset"].click()
    assert run.step == 0 and not live.rests and "ready" in panel.status.value


def test_a_slider_writes_its_knob_and_follows_it(panel):
    beta = control(panel, "beta")
    beta.input.value = 4.0
    assert panel.run.knobs.beta == 4.0
    panel.run.knobs.beta = 20.0                     # beyond the slider, by code: the slider widens
    assert beta.input.value == 20.0 and beta.input.max == 20.0
    rate = control(panel, "lr")
    rate.input.value = 0.005
    assert panel.run.knobs.lr == 0.005
    panel.run.knobs.lr = 0.0033
    assert rate.input.value == 0.0033


def test_a_schedule_is_taken_over_by_hand_and_handed_back(panel):
    run, beta = panel.run, control(panel, "beta")
    beta.mover.value = "4 cycles"
    panel.buttons["start"].click()
    until(lambda: run.step > 100, "it trains")
    assert "beta" in run.knobs.schedules
    beta.input.value = 3.0                          # by hand
    until(lambda: "beta" not in run.knobs.schedules, "the hand takes over")
    assert beta.mover.value == BY_HAND and run.knobs.beta == 3.0
    beta.mover.value = "4 cycles"                   # and back
    until(lambda: "beta" in run.knobs.schedules, "the schedule takes over")
    panel.buttons["pause"].click()
    kinds = ["schedule" if "schedule" in event else event["value"] for event in run.knobs.log]
    assert kinds == ["schedule", 3.0, "schedule"]
    begin = run.knobs.log[-1]["schedule"]["begin"]
    expected = cyclical(300)
    last = run.history.column("beta")[-1]
    assert last == pytest.approx(expected(run.step - 1 - begin))


def test_a_scheduled_slider_moves_without_taking_over(panel):
    beta = control(panel, "beta")
    panel.run.knobs.drive("beta", cyclical(100_000, start=1, stop=7, cycles=1, ramp=1.0))
    panel.buttons["start"].click()
    shown = beta.input.value
    until(lambda: beta.input.value > shown, "the slider follows the schedule")
    assert "beta" in panel.run.knobs.schedules


def test_a_scheduled_learning_rate_moves_its_slider_without_taking_over(panel):
    run, lr = panel.run, control(panel, "lr")
    options = lr.input.options
    run.knobs.drive("lr", cosine_restarts(200, 2e-3, cycles=1))
    for _ in run.steps(200):
        lr.show()
    assert [event["knob"] for event in run.knobs.log] == ["lr"] and "lr" in run.knobs.schedules
    rates = run.history.column("lr")
    assert rates[0] == pytest.approx(2e-3) and rates[-1] < 1e-6 and (np.diff(rates) < 0).all()
    assert lr.input.options == options and lr.input.value == 1e-5           # the nearest that the slider has


def test_a_value_that_a_slider_does_not_have_is_added_to_it(panel):
    run, lr = panel.run, control(panel, "lr")
    run.knobs.lr = 0.0123
    lr.show()
    run.advance()
    assert lr.input.value == 0.0123 and run.knobs.lr == 0.0123
    assert [(event["knob"], event["value"]) for event in run.knobs.log] == [("lr", 0.0123)]


def test_the_discriminator_alone_then_a_rest(panel):
    game = gan_panel(gans.make_run("ring"), knobs=("loss", "turn"), steps=400)
    game.widget.children[0].children[-1].click()
    run = game.run
    until(lambda: run.step >= 150 and not run.live.training, "D has learnt alone")
    assert run.step == 150 and run.live.error is None and run.knobs.turn == "alternate"
    until(lambda: "D has trained alone, Start goes on with both" in game.status.value, "the status says so")
    run.advance()
    assert [(event["step"], event["value"]) for event in run.knobs.log] == [(0, "discriminator"), (150, "alternate")]


def test_save_and_replay(panel, tmp_path):
    panel.buttons["start"].click()
    until(lambda: panel.run.step > 60, "it trains")
    control(panel, "beta").input.value = 4.0
    until(lambda: panel.run.knobs.log, "the knob moves")
    panel.buttons["pause"].click()
    panel.buttons["save"].click()
    assert "saved" in panel.status.value
    session = next((tmp_path / "sessions").glob("03_vae-*.json"))
    again = replay(session)
    assert again.exact, again.verdict
    session.write_text(session.read_text().replace('"value": 4.0', '"value": 5.0'))
    forged = replay(session)
    assert not forged.exact and "changed after it was saved" in forged.verdict


def test_saving_to_a_place_that_cannot_be_written_says_so(panel, tmp_path):
    (tmp_path / "sessions").write_text("a file, not a folder")
    panel.buttons["save"].click()
    assert "could not be written" in panel.status.value


def test_the_page_echoing_a_scheduled_value_takes_nothing_over(panel):
    beta = control(panel, "beta")
    panel.run.knobs.drive("beta", cyclical(100_000, start=1, stop=7, cycles=1, ramp=1.0))
    panel.buttons["start"].click()
    until(lambda: panel.run.step > 100, "it trains")
    shown = beta.input.value
    assert (shown / beta.input.step) == pytest.approx(round(shown / beta.input.step))     # nothing for it to round
    beta._moved({"new": shown + 1e-9})
    assert "beta" in panel.run.knobs.schedules and not panel.run.knobs._pending
    beta._moved({"new": 5.0})
    until(lambda: "beta" not in panel.run.knobs.schedules, "a hand does")


def test_the_page_rounding_a_value_that_a_cell_has_set_moves_nothing(panel):
    run, beta = panel.run, control(panel, "beta")
    run.knobs.beta = 5.555
    run.advance()
    beta.input.value = 5.55                                 # the page's answer
    run.advance()
    assert run.knobs.beta == 5.555 and len(run.knobs.log) == 1
    for value in (5.6, 5.55, 5.6, 5.65, 5.6):               # a hand goes to and fro
        beta.input.value = value
        run.advance()
        assert run.knobs.beta == value or value == 5.55
    run.knobs.beta = 2.0
    run.advance()
    for value in (2.05, 2.0, 2.05):
        beta.input.value = value
        run.advance()
        assert run.knobs.beta == value


def test_a_speed_limit_holds(panel):
    panel.speed.value = 30.0
    panel.buttons["start"].click()
    until(lambda: panel.run.step > 3, "it trains")
    start, step = time.monotonic(), panel.run.step
    time.sleep(1)
    assert panel.run.step - step <= 31 * (time.monotonic() - start) + 2
    panel.buttons["pause"].click()


def test_reset(panel):
    panel.buttons["start"].click()
    until(lambda: panel.run.step > 20, "it trains")
    control(panel, "beta").input.value = 6.0
    panel.buttons["reset"].click()
    assert panel.run.step == 0 and panel.run.knobs.beta == 1.0 and control(panel, "beta").input.value == 1.0
    assert not panel.run.live.training and len(panel.run.history) == 0


def test_a_non_finite_loss_is_shown_and_the_run_goes_on(panel):
    panel.buttons["start"].click()
    until(lambda: panel.run.step > 120, "it trains")
    hook = panel.run.model.decoder.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    until(lambda: "stopped" in panel.status.value, "it stops")
    assert "last good state" in panel.status.value
    hook.remove()
    step = panel.run.step
    panel.buttons["start"].click()
    until(lambda: panel.run.step > step + 20, "it goes on")
    until(lambda: "last good state" not in panel.status.value, "the sentence goes away")


def test_a_new_panel_pauses_the_one_before(panel):
    panel.buttons["start"].click()
    until(lambda: panel.run.step > 20, "it trains")
    vae_panel(make_run(), steps=10)
    assert not panel.run.live.training
    until(lambda: "a new panel was opened" in panel.status.value, "it says why")


def test_view_controls_change_pictures_and_nothing_else(panel):
    until(lambda: panel.images["map"].value, "the map is there")
    log, before = list(panel.run.knobs.log), panel.images["map"].value
    mode = next(w for w in panel.widget.children[-4].children if getattr(w, "description", "") == "latent map")
    mode.value = "PCA"
    until(lambda: panel.images["map"].value != before, "another map")
    assert panel.run.knobs.log == log and panel.run.step == 0


KILLED = """
    import os, signal, sys, time
    import dgmlab.widgets.recovery as recovery
    from dgmlab.experiments.vae import make_run
    from dgmlab.widgets import vae_panel

    recovery.EVERY = 0.2
    panel = vae_panel(make_run(), steps=100)
    panel.buttons["start"].click()
    while panel.run.step < 300:
        time.sleep(0.02)
    panel.run.knobs.beta = 4.0
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_kernel_loses_nothing(panel, tmp_path):
    assert "recover" not in panel.buttons
    dead = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED)], env=os.environ, timeout=120)
    assert dead.returncode == -signal.SIGKILL
    found = vae_panel(make_run(), steps=100)
    assert found.buttons["recover"].description.startswith("Go on from")
    found.buttons["recover"].click()
    assert found.run.step > 100 and found.run.knobs.beta == 4.0
    whole = make_run()
    whole.knobs.replay(found.run.knobs.log)
    for _ in whole.steps(found.run.step):
        pass
    assert whole.history.frame().equals(found.run.history.frame())
    found.buttons["start"].click()
    step = found.run.step
    until(lambda: found.run.step > step + 10, "it goes on")
    found.run.pause()


def test_running_the_cell_again_offers_what_was_there(panel):
    panel.buttons["start"].click()
    until(lambda: panel.run.step > 50, "it trains")
    panel.buttons["pause"].click()
    again = vae_panel(make_run(), steps=100)
    assert again.buttons["recover"].description == f"Go on from step {panel.run.step:,}"
    again.buttons["recover"].click()
    assert again.run.step == panel.run.step and again.buttons["recover"].layout.display == "none"


def test_two_kernels_never_share_a_folder(panel):
    assert vae_panel(make_run(), steps=10).run.folder != panel.run.folder


def test_without_a_front_end_the_same_call_trains_and_leaves_a_picture(monkeypatch, tmp_path):
    monkeypatch.setenv("DGMLAB_LIVE", "0")
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path))
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *objects, **_: shown.extend(objects))
    monkeypatch.setattr("dgmlab.widgets.panel.still", lambda rows, data: shown.append(data))
    run = make_run()
    vae_panel(run, steps=30)._ipython_display_()
    assert run.step == 30
    assert set(shown[0]) == {"curves", "map", "made", "kl", "trace"}
    assert not (tmp_path / "runs").exists()


def test_a_run_without_data_is_refused_in_a_sentence():
    run = make_run()
    del run.data
    with pytest.raises(LabError, match="set run.data"):
        vae_panel(run)
