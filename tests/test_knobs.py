"""Knobs: bounds, when a change takes effect, the log, schedules in and out of hand, replay."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from dgmlab.errors import LabError
from dgmlab.knobs import Choice, Knobs, Real, Switch, Whole
from dgmlab.schedules import Schedule, constant, cyclical, monotonic

from .support import tiny_run, train


class Some(Knobs):
    beta = Real(1.0, 0, 10, "KL weight", symbol="β")
    count = Whole(2, 1, 8, "how many")
    kind = Choice("a", ("a", "b"), "which")
    on = Switch(False, "whether")


def step_through(knobs, steps, moves=()):
    """The values in force at each step, with moves {step: action} made just before it."""
    moves, seen = dict(moves), []
    for step in range(steps):
        moves.get(step, lambda: None)()
        seen.append(vars(knobs.at(step)).copy())
    return seen


@pytest.mark.parametrize("name, value, words", [
    ("beta", 11, "KL weight (beta) is 11, but it must be a number from 0 to 10."),
    ("beta", -0.1, "from 0 to 10"), ("beta", float("nan"), "is nan"), ("beta", float("inf"), "is inf"),
    ("beta", True, "is True"), ("beta", "1", "is '1'"), ("beta", None, "is None"), ("beta", [1], "must be a number"),
    ("beta", 10**400, "must be a number"),
    ("count", 0, "how many (count) is 0, but it must be a whole number from 1 to 8."), ("count", 2.5, "whole number"),
    ("count", float("nan"), "whole number"), ("count", float("inf"), "whole number"), ("count", True, "whole number"),
    ("kind", "c", "which (kind) is 'c', but it must be one of: a, b."), ("kind", None, "one of"),
    ("on", 1, "whether (on) is 1, but it must be True or False."), ("on", "yes", "True or False")])
def test_bad_values_are_one_sentence_and_change_nothing(name, value, words):
    knobs = Some()
    before = knobs.values()
    for attempt in (lambda: setattr(knobs, name, value), lambda: Some(**{name: value}),
                    lambda: knobs.replay([{"step": 0, "knob": name, "value": value}])):
        with pytest.raises(LabError) as error:
            attempt()
        assert words in str(error.value) and "\n" not in str(error.value)
    assert knobs.values() == before and vars(knobs.at(0)) == before and knobs.log == []


@pytest.mark.parametrize("attempt", [
    lambda knobs: Some(gamma=1), lambda knobs: knobs.drive("gamma", constant(1)), lambda knobs: knobs.release("gamma"),
    lambda knobs: knobs.replay([{"step": 0, "knob": "gamma", "value": 1}])])
def test_an_unknown_name_lists_the_known_ones(attempt):
    with pytest.raises(LabError, match=r"no knob named 'gamma'; the knobs are: .*beta"):
        attempt(Some())


def test_numbers_are_stored_as_python_holds_them():
    knobs = Some(beta=np.float32(0.5), count=np.int64(3))
    knobs.beta, knobs.count = np.int64(4), 5.0
    knobs.at(0)
    assert (knobs.beta, knobs.count) == (4.0, 5) and type(knobs.beta) is float and type(knobs.count) is int
    json.dumps(knobs.state())


def test_two_sets_of_knobs_do_not_share_values():
    one, other = Some(), Some(beta=3)
    one.beta = 7
    assert (one.at(0).beta, other.at(0).beta) == (7, 3) and other.log == []


def test_start_values_are_no_changes():
    knobs = Some(beta=4)
    assert knobs.at(0).beta == 4 and knobs.log == [] and knobs.initial["beta"] == 4


def test_a_change_takes_effect_at_the_next_step_exactly():
    knobs = Some()
    seen = step_through(knobs, 6, {3: lambda: setattr(knobs, "beta", 2)})
    assert [s["beta"] for s in seen] == [1, 1, 1, 2, 2, 2]
    assert knobs.log == [{"step": 3, "knob": "beta", "value": 2.0}]


def test_a_snapshot_does_not_change_under_the_models_hands():
    knobs = Some()
    snapshot = knobs.at(0)
    knobs.beta = 5
    assert snapshot.beta == 1 and knobs.at(1).beta == 5 and snapshot.beta == 1


def test_many_moves_between_two_steps_are_one_entry():
    knobs = Some()
    knobs.at(0)
    for value in np.linspace(1, 8, 50):
        knobs.beta = value
    knobs.kind = "b"
    knobs.at(1)
    assert knobs.log == [{"step": 1, "knob": "beta", "value": 8.0}, {"step": 1, "knob": "kind", "value": "b"}]


def test_there_and_back_between_two_steps_is_no_change():
    knobs = Some()
    knobs.beta = 5
    knobs.beta = 1
    assert knobs.at(0).beta == 1 and knobs.log == []


def test_a_value_that_is_not_yet_in_the_log_is_not_in_force():
    """A thread that has set the trait but has not been taken in yet must not leak into a driven run's snapshot."""
    knobs = Some()
    knobs.drive("count", Schedule(100, 1, 8))
    knobs.at(0)
    knobs._trait_values["beta"] = 9.0       # what another thread's assignment has done so far
    assert knobs.at(1).beta == 1


def test_a_schedule_drives_and_logs_itself_once():
    knobs, schedule = Some(), cyclical(8, 0, 4, cycles=2)
    knobs.drive("beta", schedule)
    seen = step_through(knobs, 12)
    assert [s["beta"] for s in seen] == [schedule(t) for t in range(12)] == [0, 2, 4, 4, 0, 2, 4, 4, 4, 4, 4, 4]
    assert knobs.log == [{"step": 0, "knob": "beta", "schedule": schedule.to_dict()}]


def test_a_schedule_is_taken_over_by_hand_and_handed_back():
    knobs, schedule = Some(), cyclical(100, 0, 10, cycles=1, ramp=1.0)
    knobs.drive("beta", schedule)
    seen = step_through(knobs, 12, {4: lambda: setattr(knobs, "beta", 7.5), 8: lambda: knobs.drive("beta", schedule)})
    assert [s["beta"] for s in seen] == pytest.approx([0, .1, .2, .3, 7.5, 7.5, 7.5, 7.5, .8, .9, 1, 1.1])
    assert [(e["step"], "schedule" in e) for e in knobs.log] == [(0, True), (4, False), (8, True)]


def test_a_driven_knob_is_taken_over_by_the_value_it_already_has():
    knobs = Some()
    knobs.drive("beta", monotonic(10, 0, 4, ramp=1.0))
    step_through(knobs, 6)
    knobs.beta = knobs.beta                     # "stay here"
    assert [knobs.at(t).beta for t in (6, 7, 8)] == [2, 2, 2] and knobs.schedules == {}
    assert knobs.log[-1] == {"step": 6, "knob": "beta", "value": 2.0}


def test_the_last_word_before_a_step_counts():
    knobs = Some()
    knobs.beta = 3
    knobs.drive("beta", constant(5))
    assert knobs.at(0).beta == 5 and "beta" in knobs.schedules
    knobs.drive("beta", constant(6))
    knobs.beta = 5
    assert knobs.at(1).beta == 5 and knobs.schedules == {} and len(knobs.log) == 2


def test_release_leaves_the_knob_where_it_is():
    knobs = Some()
    knobs.drive("beta", monotonic(10, 0, 10, ramp=1.0))
    seen = step_through(knobs, 8, {5: lambda: knobs.release("beta")})
    assert [s["beta"] for s in seen] == [0, 1, 2, 3, 4, 4, 4, 4]
    knobs.release("beta")                       # of a knob that nothing drives
    knobs.at(8)
    assert len(knobs.log) == 2


def test_a_driven_count_stays_whole():
    knobs = Some()
    knobs.drive("count", Schedule(8, 1, 5, 1, 1.0))
    seen = [s["count"] for s in step_through(knobs, 9)]
    assert seen == [1, 2, 2, 2, 3, 4, 4, 4, 5] and all(type(v) is int for v in seen)
    again = Some()
    again.restore(json.loads(json.dumps(knobs.state())))
    assert again.count == 5


@pytest.mark.parametrize("name, schedule, words", [
    ("beta", constant(11), "from 0 to 10"), ("beta", cyclical(10, -1, 1), "from 0 to 10"),
    ("count", cyclical(10, 1, 2.5), "whole number"), ("on", constant(1), "True or False"),
    ("kind", constant(1), "one of"), ("beta", 0.5, "give a schedule"), ("beta", lambda step: 1.0, "give a schedule")])
def test_a_schedule_that_does_not_fit_the_knob_is_refused(name, schedule, words):
    knobs = Some()
    with pytest.raises(LabError, match=words):
        knobs.drive(name, schedule)
    knobs.at(0)
    assert knobs.log == [] and knobs.schedules == {}


def test_observers_hear_of_the_hand_and_not_of_every_scheduled_step():
    knobs, heard = Some(), []
    knobs.observe(lambda change: heard.append(change["new"]), "beta")
    knobs.drive("beta", monotonic(100, 0, 5, ramp=1.0))
    step_through(knobs, 50)
    knobs.beta = 7
    assert heard == [7] and knobs.at(50).beta == 7


def drama(knobs):
    return {0: lambda: knobs.drive("beta", cyclical(20, 0, 3, cycles=2)), 5: lambda: setattr(knobs, "beta", 9),
            6: lambda: (setattr(knobs, "count", 4), setattr(knobs, "kind", "b")),
            9: lambda: knobs.drive("beta", monotonic(40, 1, 2)), 14: lambda: knobs.release("beta"),
            16: lambda: setattr(knobs, "on", True)}


def test_a_log_replays_to_the_same_values_and_the_same_log():
    knobs = Some(count=3)
    seen = step_through(knobs, 25, drama(knobs))
    again = Some(count=3)
    again.replay(json.loads(json.dumps(knobs.log)))
    assert step_through(again, 25) == seen and again.log == knobs.log


@pytest.mark.parametrize("cut", range(0, 25))
def test_saved_and_restored_at_any_step_it_goes_on_the_same(cut):
    knobs = Some()
    seen = step_through(knobs, 25, drama(knobs))
    first, second = Some(), Some(beta=8)
    moves, late = drama(first), drama(second)
    for step in range(cut):
        moves.get(step, lambda: None)()
        first.at(step)
    moves.get(cut, lambda: None)()              # a change that is not yet in force is saved as well
    second.restore(json.loads(json.dumps(first.state())))
    assert second.values() == first.values()
    rest = []
    for step in range(cut, 25):
        if step > cut:
            late.get(step, lambda: None)()
        rest.append(vars(second.at(step)).copy())
    assert rest == seen[cut:] and second.log == knobs.log and second.initial == knobs.initial


def test_a_replay_can_be_saved_half_way():
    knobs = Some()
    seen = step_through(knobs, 25, drama(knobs))
    first, second = Some(), Some()
    first.replay(knobs.log)
    step_through(first, 7)
    second.restore(json.loads(json.dumps(first.state())))
    assert [vars(second.at(step)) for step in range(7, 25)] == seen[7:] and second.log == knobs.log


def test_during_a_replay_the_hand_still_works():
    knobs = Some()
    knobs.replay([{"step": 2, "knob": "beta", "value": 3.0}, {"step": 6, "knob": "beta", "value": 4.0}])
    seen = step_through(knobs, 8, {4: lambda: setattr(knobs, "beta", 8)})
    assert [s["beta"] for s in seen] == [1, 1, 3, 3, 8, 8, 4, 4]


def test_reset_forgets_everything_but_the_start_values():
    knobs = Some(beta=2)
    step_through(knobs, 12, drama(knobs))
    knobs.beta = 5
    knobs.reset()
    assert knobs.values() == {"beta": 2, "count": 2, "kind": "a", "on": False} == vars(knobs.at(0))
    assert knobs.log == [] and knobs.schedules == {}


def made():
    """Knobs with a schedule, a value and a plan that belong to how they were made."""
    knobs = Some(count=3)
    knobs.drive("beta", monotonic(10, 0, 10, ramp=1.0))
    knobs.kind = "b"
    knobs.replay([{"step": 4, "knob": "on", "value": True}], planned=True)
    knobs.as_made()
    return knobs


def test_reset_sets_again_what_the_knobs_were_made_with():
    knobs = made()
    seen = step_through(knobs, 8)
    assert [s["beta"] for s in seen] == list(range(8)) and seen[0]["kind"] == "b" and seen[4]["on"]
    for moves in ({2: lambda: setattr(knobs, "beta", 9), 3: lambda: knobs.drive("count", constant(5))}, {}):
        knobs.reset()
        if moves:
            assert step_through(knobs, 8, moves) != seen
        else:
            assert step_through(knobs, 8) == seen


def test_what_the_knobs_were_made_with_can_be_taken_over_before_the_first_step():
    knobs = made()
    for _ in range(2):                              # also after a reset
        knobs.beta = 3
        knobs.kind = "a"
        assert vars(knobs.at(0)) == {"beta": 3, "count": 3, "kind": "a", "on": False} and knobs.schedules == {}
        knobs.reset()
    assert knobs.at(0).beta == 0 and "beta" in knobs.schedules


def test_a_session_is_reenacted_without_what_the_knobs_were_made_with():
    knobs = Some(count=5)
    seen = step_through(knobs, 25, drama(knobs))
    again = made()
    again.reenact(knobs.initial, json.loads(json.dumps(knobs.log)))
    for _ in range(2):
        assert step_through(again, 25) == seen and again.log == knobs.log and again.initial == knobs.initial
        again.reset()
    before = again.state()
    for initial, log, words in (({"beta": 1}, [], "no initial value of 'count'"),
                                (knobs.initial | {"beta": 99}, [], "from 0 to 10"),
                                (knobs.initial | {"mood": 1}, [], "no knob named 'mood'"),
                                (knobs.initial, [{"step": 0, "knob": "beta", "schedule": {"steps": 3, "stop": 99}}],
                                 "from 0 to 10")):
        with pytest.raises(LabError, match=words):
            again.reenact(initial, log)
    assert again.state() == before


def test_several_threads_move_knobs_while_a_run_steps():
    """Whatever the interleaving: the history's column of a knob is what the log says, step by step."""
    run, stop = tiny_run(), threading.Event()

    def fiddle(values, rate):
        while not stop.is_set():
            for value in values:
                setattr(run.knobs, *(("lr", value) if rate else ("beta", value)))

    def reschedule():
        while not stop.is_set():
            run.knobs.drive("beta", cyclical(50, 0, 4))
            run.knobs.release("beta")

    threads = [threading.Thread(target=fiddle, args=([0.5, 1.5, 2.5], False)),
               threading.Thread(target=fiddle, args=([1e-3, 2e-3], True)), threading.Thread(target=reschedule)]
    for thread in threads:
        thread.start()
    train(run, 300)
    stop.set()
    for thread in threads:
        thread.join()
    again = tiny_run()
    again.knobs.replay(run.knobs.log)
    train(again, 300)
    for name in ("beta", "lr", "loss"):
        assert np.array_equal(run.history.column(name), again.history.column(name)), name
    assert again.knobs.log == run.knobs.log and len(run.knobs.log) > 50
    assert len({(e["step"], e["knob"]) for e in run.knobs.log}) == len(run.knobs.log)
