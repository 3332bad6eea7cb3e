"""Training in a background thread: starting, pausing, waiting, errors, interrupts, handing over between runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from dgmlab.errors import LabError
from dgmlab.training import NonFinite, live

from .support import assert_equal_to_the_bit, process, tiny_run, train

others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def alive(monkeypatch):
    """A person watches; afterwards nobody trains, and no thread is left that was not there before."""
    monkeypatch.setenv("DGMLAB_LIVE", "1")
    others.clear()
    others.update(threading.enumerate())
    yield
    live.pause_all()
    assert threads() == []


def threads():
    """The lab's threads that were not there when the test began: other tests' panels keep their painter."""
    return [thread.name for thread in threading.enumerate()
            if thread.name.startswith("dgmlab") and thread not in others]


def until(condition, seconds=10):
    """Wait for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def within(seconds, work):
    """Run ``work`` in a thread and fail if it hangs."""
    outcome = []

    def go():
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "deadlock"
    return outcome[0]


def same_as_foreground(run, **options):
    assert_equal_to_the_bit(run, train(tiny_run(**options), run.step))


# -- start, pause, step, wait ----------------------------------------------------------------------------------------

def test_start_returns_at_once_and_pause_ends_the_thread():
    run = tiny_run()
    run.start()
    assert run.live.training and threads() == ["dgmlab training"]
    until(lambda: run.step >= 30)
    run.pause()
    step = run.step
    assert not run.live.training and threads() == []
    time.sleep(0.05)
    assert run.step == step == len(run.history)
    same_as_foreground(run)


def test_wait_comes_back_at_the_goal():
    run = tiny_run()
    run.start(50)
    run.wait()
    assert run.step >= 50
    run.pause()
    same_as_foreground(run)


def test_wait_starts_a_run_that_nobody_has_started_or_that_was_paused():
    run = tiny_run()
    run.live.goal = 20
    run.wait()
    run.pause()
    run.live.goal = run.step + 20
    assert within(10, run.wait) is None and run.step >= run.live.goal


def test_wait_without_a_goal_is_over_at_once():
    run = tiny_run()
    run.wait()
    assert run.step == 0


def test_finish_leaves_the_event_loop_free():
    run, beats = tiny_run(), []

    async def cell():
        async def beat():
            while True:
                beats.append(run.step)
                await asyncio.sleep(0.01)
        task = asyncio.ensure_future(beat())
        run.start(200)
        await run.finish()
        task.cancel()

    asyncio.run(cell())
    assert run.step >= 200 and len(beats) > 3


def test_a_cancelled_finish_pauses():
    run = tiny_run()

    async def cell():
        run.start(10**9)
        await asyncio.wait_for(run.finish(), 0.2)

    with pytest.raises(TimeoutError):
        asyncio.run(cell())
    assert not run.live.training and run.live.why_paused == "interrupted"
    same_as_foreground(run)


def test_started_twice_is_started_once():
    run = tiny_run()
    run.start()
    thread = run.live._thread
    run.start()
    run.start(5)
    assert run.live._thread is thread and len(threads()) == 1


def test_single_steps():
    run = tiny_run()
    for number in (1, 2, 3):
        run.live.step_once()
        until(lambda: not run.live.training)
        assert run.step == number
    same_as_foreground(run)


def test_a_single_step_stops_a_training_run():
    run = tiny_run()
    run.start()
    until(lambda: run.step > 5)
    run.live.step_once()
    until(lambda: not run.live.training)
    step = run.step
    time.sleep(0.05)
    assert run.step == step


def test_start_during_a_single_step_is_not_lost():
    """The step may be a long one, and the thread of it still alive when Start is pressed."""
    run, hold = tiny_run(), threading.Event()
    run.live.watchers = [lambda run: hold.wait(5)]
    run.live.step_once()
    until(lambda: run.step == 1)
    starting = threading.Thread(target=run.start)
    starting.start()
    time.sleep(0.05)
    hold.set()
    starting.join()
    until(lambda: run.step > 20)


def test_start_right_after_pause_is_not_lost():
    run = tiny_run()
    for _ in range(30):
        run.start()
        step = run.step
        until(lambda step=step: run.step > step)
        run.pause()
    same_as_foreground(run)


def test_starting_another_run_pauses_the_first():
    first, second = tiny_run(), tiny_run(seed=1)
    first.start()
    until(lambda: first.step > 5)
    second.start()
    assert not first.live.training and first.live.why_paused == "another run was started"
    until(lambda: second.step > 5)
    assert len(threads()) == 1
    step = first.step
    first.start()
    until(lambda: first.step > step)
    assert not second.live.training
    first.pause()
    same_as_foreground(first)
    same_as_foreground(second, seed=1)


def test_many_runs_started_at_once_leave_one_training():
    runs = [tiny_run(seed=s) for s in range(6)]
    starters = [threading.Thread(target=run.start) for run in runs for _ in range(2)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(10)
        assert not starter.is_alive(), "deadlock"
    assert sum(run.live.training for run in runs) == 1 and len(threads()) == 1


def test_a_knob_moved_while_it_trains_is_in_the_log_and_replays():
    run = tiny_run()
    run.start()
    for value in (2, 4, 0.5):
        step = run.step
        until(lambda step=step: run.step > step + 10)
        run.knobs.beta = value
    step = run.step
    until(lambda: run.step > step + 10)
    run.pause()
    assert [e["value"] for e in run.knobs.log] == [2, 4, 0.5]
    again = tiny_run()
    again.knobs.replay(run.knobs.log)
    assert_equal_to_the_bit(train(again, run.step), run)


def test_the_model_may_be_looked_at_under_the_lock():
    run = tiny_run()
    run.start()
    until(lambda: run.step > 5)
    for _ in range(20):
        with run.lock:
            step, weight = run.step, run.model.encoder.weight.clone()
            assert len(run.history) == step and torch.equal(weight, run.model.encoder.weight)


def test_drawing_and_torch_in_other_cells_do_not_change_the_numbers():
    run = tiny_run(dropout=0.2)
    run.start(300)
    while run.step < 300:
        torch.manual_seed(0)
        torch.randn(50, 50) @ torch.randn(50, 50)
    run.pause()
    same_as_foreground(run, dropout=0.2)


def test_reset_while_it_trains():
    run = tiny_run()
    run.start()
    for _ in range(5):
        until(lambda: run.step > 60)
        run.reset()
    until(lambda: run.step > 5)
    run.pause()
    assert run.live.error is None
    same_as_foreground(run)


def test_saved_while_it_trains(tmp_path):
    run = tiny_run()
    run.start()
    until(lambda: run.step > 20)
    run.save(tmp_path / "a")
    run.pause()
    other = tiny_run()
    other.resume(tmp_path / "a")
    assert_equal_to_the_bit(train(other, run.step - other.step), run)


def test_without_a_person_it_trains_at_once_to_the_goal(monkeypatch):
    monkeypatch.setenv("DGMLAB_LIVE", "0")
    run, seen = tiny_run(), []
    run.live.watchers = [lambda run: seen.append(run.step)]
    run.start(20)
    assert run.step == 20 and threads() == [] and seen == list(range(1, 21))
    run.wait()
    assert run.step == 20
    run.live.goal = 30
    asyncio.run(run.finish())
    assert run.step == 30


def test_who_is_live(monkeypatch):
    assert live.is_live()
    monkeypatch.delenv("DGMLAB_LIVE")
    assert not live.is_live()                       # no notebook
    monkeypatch.setenv("DGMLAB_LIVE", "yes")
    with pytest.raises(LabError, match="DGMLAB_LIVE is 'yes', but it must be 0"):
        live.is_live()


# -- errors and abandonment ------------------------------------------------------------------------------------------

def test_an_error_in_the_thread_is_raised_by_wait_and_only_once():
    run = tiny_run()
    train(run, 60)
    with torch.no_grad():
        run.model.decoder.bias.fill_(float("nan"))
    run.start(50)
    with pytest.raises(NonFinite):
        run.wait()
    assert not run.live.training and run.step == 0
    run.wait()
    assert run.step >= 110


def test_an_error_of_a_watcher_stops_the_run_and_is_raised_by_wait():
    run = tiny_run()

    def fail(run):
        if run.step == 7:
            raise ZeroDivisionError("a watcher's own fault")

    run.live.watchers = [fail]
    run.start(100)
    with pytest.raises(ZeroDivisionError):
        run.wait()
    assert run.step == 7 and threads() == []
    run.start()
    until(lambda: run.step > 10)
    assert run.live.error is None


def test_an_error_of_a_listener_is_kept_as_well():
    run = tiny_run()

    def fail():
        if not run.live.training:
            raise ZeroDivisionError

    run.live.on_state = [fail]
    run.start()
    until(lambda: run.step > 2)
    run.pause()
    assert isinstance(run.live.error, ZeroDivisionError)
    run.live.on_state, run.live.error = [], None


def test_listeners_hear_of_start_and_end_with_the_reason():
    run, heard = tiny_run(), []
    run.live.on_state = [lambda: heard.append((run.live.training, run.live.why_paused))]
    run.start()
    until(lambda: run.step > 2)
    run.live.pause("a coffee")
    assert heard == [(True, ""), (False, "a coffee")]


def test_a_run_that_nobody_touches_pauses():
    run = tiny_run()
    run.live.idle_limit = 0.15
    run.start()
    for _ in range(6):
        time.sleep(0.05)
        run.live.touch()
    assert run.live.training
    until(lambda: not run.live.training)
    assert "nobody touched it" in run.live.why_paused
    run.pause()
    assert "nobody touched it" in run.live.why_paused
    same_as_foreground(run)


# -- deadlocks -------------------------------------------------------------------------------------------------------

def test_a_watcher_may_pause():
    run = tiny_run()
    run.live.watchers = [lambda run: run.live.pause("enough") if run.step == 9 else None]
    run.start()
    until(lambda: not run.live.training)
    assert run.step == 9 and run.live.why_paused == "enough"


def test_a_watcher_may_start_another_run():
    first, second = tiny_run(), tiny_run(seed=1)
    first.live.watchers = [lambda run: second.start() if run.step == 5 else None]
    first.start()
    until(lambda: second.step > 5)
    assert not first.live.training and first.step == 5


def test_a_watcher_may_pause_and_start_its_own_run():
    run = tiny_run()

    def restart(run):
        if run.step == 5:
            run.pause()
            run.start()

    run.live.watchers = [restart]
    run.start()
    until(lambda: run.step > 20)
    assert len(threads()) == 1
    run.pause()
    same_as_foreground(run)


def test_two_threads_may_pause_at_once_and_others_start():
    run = tiny_run()

    def fiddle():
        for k in range(25):
            (run.start if k % 3 == 0 else run.pause if k % 3 == 1 else run.live.step_once)()

    workers = [threading.Thread(target=fiddle) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert not worker.is_alive(), "deadlock"
    assert within(5, run.pause) is None and threads() == [] and run.live.error is None
    same_as_foreground(run)


def test_pausing_twice_and_before_the_start():
    run = tiny_run()
    run.pause()
    run.pause()
    run.start()
    until(lambda: run.step > 2)
    run.pause()
    run.pause()


# -- interrupts ------------------------------------------------------------------------------------------------------

def interrupted(send, way):
    os.environ["DGMLAB_LIVE"] = "1"
    run = tiny_run(dropout=0.2)
    run.history.append = slow(run.history.append, lambda: run.step or send("training"))
    try:
        if way == "steps":
            for _ in run.steps(10**6):
                pass
        else:
            run.start(10**6)
            run.wait()
    except KeyboardInterrupt:
        pass
    training = run.live.training
    tensors, meta = run.state()
    send((run.step, len(run.history), training, run.live.why_paused, signal.getsignal(signal.SIGINT).__name__,
          {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}))


def slow(append, tell):
    """Give an interrupt the chance to come where the model has moved and the step has not been counted."""
    def later(row):
        append(row)
        tell()
        time.sleep(0.003)
    return later


@pytest.mark.parametrize("way", ["steps", "wait"])
def test_an_interrupt_falls_between_two_steps(way):
    for pause in (0.03, 0.1, 0.17):
        child, receiver = process(interrupted, way)
        receiver.recv()
        time.sleep(pause)
        os.kill(child.pid, signal.SIGINT)
        step, rows, training, why, handler, tensors = receiver.recv()
        child.join(5)
        assert rows == step > 0 and not training and handler == "default_int_handler"
        assert why == ("interrupted" if way == "wait" else "")
        expected = train(tiny_run(dropout=0.2), step).state()[0]
        assert tensors == {name: tensor.numpy().tobytes() for name, tensor in expected.items()}


def test_an_interrupt_in_the_loops_body_loses_nothing():
    run = tiny_run()
    with pytest.raises(KeyboardInterrupt):
        for tick in run.steps(50):
            if tick.step == 20:
                signal.raise_signal(signal.SIGINT)
    assert run.step == 20 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    same_as_foreground(train(run, 10))


def test_an_interrupt_inside_a_step_waits_for_its_end():
    run = tiny_run()
    loss = run.model.loss

    def interrupting(*arguments):
        if run.step == 12:
            signal.raise_signal(signal.SIGINT)
        return loss(*arguments)

    run.model.loss = interrupting
    with pytest.raises(KeyboardInterrupt):
        train(run, 50)
    assert run.step == 13
    run.model.loss = loss
    same_as_foreground(train(run, 10))


def test_a_process_that_ignores_interrupts_goes_on_ignoring_them():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = tiny_run()
        for tick in run.steps(10):
            if tick.step == 5:
                signal.raise_signal(signal.SIGINT)
        assert run.step == 10
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_script_that_ends_while_a_run_trains_ends_well():
    code = ("from tests.support import tiny_run; import time; run = tiny_run(); run.start(); time.sleep(0.2); "
            "print(run.step)")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "" and int(done.stdout) > 0


def test_the_foreground_and_a_background_thread_share_one_run():
    """Nobody should, but no step may be lost or doubled."""
    run = tiny_run()
    run.start()
    train(run, 100)
    run.pause()
    assert np.isfinite(run.history.column("loss")).all() and len(run.history) == run.step
    same_as_foreground(run)
