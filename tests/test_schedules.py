"""Schedules against their closed forms, and against the traps that published implementations fell into."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest

from dgmlab.errors import LabError
from dgmlab.schedules import Schedule, constant, cosine_restarts, cyclical, from_dict, monotonic


def closed_form(t, steps, start, stop, cycles, ramp, shape, wait=Fraction(0)):
    """Fu et al. 2019, eq. 6-7, in exact fractions: P = T/M, tau = (t mod P) / P, beta = f(tau / R) while tau <= R."""
    if t >= steps:
        return stop
    period = Fraction(steps, cycles)
    tau = (Fraction(t) % period) / period
    if tau < wait:
        return start
    if ramp == 0 or tau - wait > ramp:
        return stop
    u = float((tau - wait) / ramp)
    f = {"linear": u, "sigmoid": 1 / (1 + math.exp(-(12 * u - 6))), "cosine": 0.5 - 0.5 * math.cos(math.pi * u)}[shape]
    return start + (stop - start) * f


@pytest.mark.parametrize("shape", ["linear", "sigmoid", "cosine"])
@pytest.mark.parametrize("start, stop", [(0, 1), (0, 4), (0.25, 0.5), (1, 0.2), (-2, -5)])
@pytest.mark.parametrize("steps, cycles, ramp", [
    (40, 4, Fraction(1, 2)), (40, 1, Fraction(1, 4)),
    (10, 3, Fraction(1, 2)), (1000, 7, Fraction(1, 4)),         # T/M is not whole
    (40, 4, Fraction(1)), (10, 3, Fraction(1)),                 # R = 1
    (40, 4, Fraction(0)), (5, 8, Fraction(1, 2)),               # R = 0; more cycles than steps
])
def test_every_step_agrees_with_the_closed_form(shape, start, stop, steps, cycles, ramp):
    schedule = Schedule(steps, start, stop, cycles, float(ramp), shape=shape)
    made = [schedule(t) for t in range(steps + 20)]
    expected = [closed_form(t, steps, start, stop, cycles, ramp, shape) for t in range(steps + 20)]
    np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-12)
    assert min(start, stop) <= min(made) and max(made) <= max(start, stop)


def test_linear_by_hand():
    # T = 8, M = 2: a cycle of 4 steps, two of them on the ramp
    assert [cyclical(8, 0, 1, cycles=2)(t) for t in range(9)] == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1]


def test_stop_other_than_one_is_kept_after_the_ramp():
    """The notebook's table was filled with ones beforehand: with stop = 0.3 it jumped to 1."""
    schedule = cyclical(40, 0, 0.3)
    assert {schedule(t) for t in range(5, 10)} == {0.3} and schedule(39) == schedule(40) == schedule(10**9) == 0.3


def test_the_last_point_of_the_ramp_is_not_lost_to_rounding():
    """Adding 1/(P R) again and again misses the last point of ramps whose step is not a binary fraction."""
    for steps in (10, 30, 70, 130, 1000):
        schedule = cyclical(2 * steps, 0, 1, cycles=1, ramp=0.5)
        assert schedule(steps) == 1 and schedule(steps - 1) == pytest.approx(1 - 1 / steps, abs=1e-15)


def test_the_place_in_the_cycle_does_not_drift():
    """A length of cycle that is not whole is not floored: after a million cycles the phase is still exact."""
    steps, cycles = 10_000_019, 1_000_003
    schedule = cyclical(steps, cycles=cycles, ramp=1.0)
    for t in (steps - 1, steps - 2, steps // 2, 7_654_321):
        assert schedule(t) == float(Fraction(t * cycles % steps, steps))


@pytest.mark.parametrize("shape, first, last", [("linear", 0, 0.75), ("sigmoid", 1 / (1 + math.exp(6)),
                                                1 / (1 + math.exp(-3))), ("cosine", 0, 0.5 + 0.5 * math.sqrt(0.5))])
def test_a_ramp_as_long_as_the_cycle_begins_again(shape, first, last):
    """R = 1 ran past the end of the array in the sigmoid and cosine versions."""
    schedule = cyclical(8, cycles=2, ramp=1.0, shape=shape)
    cycle = [schedule(t) for t in range(4)]
    assert cycle[0] == pytest.approx(first) and cycle[3] == pytest.approx(last)
    assert [schedule(t) for t in range(4, 8)] == cycle and schedule(8) == 1


def test_the_sigmoid_has_jumps_at_both_ends():
    schedule = Schedule(100, 0, 1, 1, 0.5, shape="sigmoid")
    assert schedule(0) == pytest.approx(0.0024726, abs=1e-7)
    assert schedule(50) == pytest.approx(0.9975274, abs=1e-7) and schedule(51) == 1
    assert schedule(25) == pytest.approx(0.5)


def test_monotonic_is_one_cycle_with_a_quarter_on_the_ramp():
    schedule = monotonic(40_000)
    assert schedule == Schedule(40_000, 0, 1, 1, 0.25)
    assert (schedule(5_000), schedule(10_000), schedule(10_001), schedule(39_999)) == (0.5, 1, 1, 1)


def test_cyclical_defaults_are_the_papers():
    schedule = cyclical(40_000)
    assert (schedule.cycles, schedule.ramp, schedule.shape) == (4, 0.5, "linear")
    assert [schedule(t) for t in (0, 2_500, 5_000, 9_999, 10_000, 12_500)] == [0, 0.5, 1, 1, 0, 0.5]


def test_optimus_waits_then_climbs_then_holds():
    schedule = cyclical(100, 0, 0.5, cycles=1, wait=0.5, ramp=0.25)
    assert {schedule(t) for t in range(50)} == {0}
    assert [schedule(t) for t in (50, 60, 75, 76, 99, 100)] == pytest.approx([0, 0.2, 0.5, 0.5, 0.5, 0.5])
    for t in range(100):
        assert schedule(t) == pytest.approx(
            closed_form(t, 100, 0, 0.5, 1, Fraction(1, 4), "linear", wait=Fraction(1, 2)))


def test_waiting_applies_to_each_cycle_and_starts_at_start():
    schedule = cyclical(40, 2, 1, cycles=2, wait=0.5, ramp=0.5)
    assert [schedule(t) for t in (0, 9, 10, 15, 20, 29, 30, 35)] == [2, 2, 2, 1.5, 2, 2, 2, 1.5]


def test_a_falling_learning_rate_restarts():
    schedule = cosine_restarts(400, 1e-3, 1e-5, cycles=4)
    for t in range(400):
        u = (t % 100) / 100
        assert schedule(t) == pytest.approx(1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * u)), rel=1e-12)
    assert schedule(100) == 1e-3 and schedule(400) == 1e-5


def test_constant():
    assert {constant(0.3)(t) for t in range(100)} == {0.3}


def test_a_schedule_that_begins_later():
    late, early = Schedule(40, 1, 3, 2, 0.5, begin=100), Schedule(40, 1, 3, 2, 0.5)
    assert {late(t) for t in range(101)} == {1} and [late(100 + t) for t in range(60)] == [early(t) for t in range(60)]


def test_values_never_leave_the_interval_by_a_rounding_error():
    generator = np.random.default_rng(0)
    for start, stop in generator.uniform(-5, 100, (500, 2)):
        schedule = Schedule(10**9, start, stop, 1, 1.0)
        for t in (10**9 - 1, 10**9 - 2, 1):
            assert min(start, stop) <= schedule(t) <= max(start, stop)


@pytest.mark.parametrize("bad, words", [
    (dict(steps=0), "number of steps is 0"), (dict(steps=2.5), "whole number"), (dict(steps=True), "whole number"),
    (dict(steps=10, cycles=0), "cycles (M) is 0"), (dict(steps=10, cycles=1.5), "whole number"),
    (dict(steps=10, ramp=1.1), "from 0 to 1"), (dict(steps=10, ramp=-0.1), "from 0 to 1"),
    (dict(steps=10, ramp=float("nan")), "from 0 to 1"), (dict(steps=10, start=float("inf")), "start value is inf"),
    (dict(steps=10, stop="1"), "stop value is '1'"), (dict(steps=10, wait=0.8, ramp=0.5), "at most 1"),
    (dict(steps=10, shape="step"), "linear, sigmoid, cosine"), (dict(steps=10, begin=-1), "begins is -1")])
def test_bad_values_are_one_sentence(bad, words):
    with pytest.raises(LabError) as error:
        Schedule(**bad)
    assert words in str(error.value) and str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize("schedule", [
    constant(2), monotonic(10, shape="cosine"), cyclical(100, 1, 0, cycles=3, wait=0.25, shape="sigmoid"),
    cyclical(np.int64(100), np.float32(0.5), cycles=np.int32(3)), cosine_restarts(10, 0.1),
    Schedule(7, begin=3)])
def test_a_schedule_survives_json(schedule):
    again = from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule and [again(t) for t in range(120)] == [schedule(t) for t in range(120)]


@pytest.mark.parametrize("bad", [{"step": 5}, {"steps": 5, "colour": 1}, {}, {"steps": "5"}])
def test_what_describes_no_schedule_is_refused(bad):
    with pytest.raises(LabError):
        from_dict(bad)


def test_a_schedule_says_what_it_is():
    assert str(cyclical(10_000)) == "4 x linear 0 to 1 over 10,000 steps"
    assert str(constant(0.5)) == "constant 0.5"
