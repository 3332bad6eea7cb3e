"""Knobs: what can be changed while a model trains.

A knob is a typed, bounded, observable attribute (a traitlet). A slider links to it, a schedule drives it, a
parameter of a notebook sets it; the run reads all of them once at the top of every step and logs each change with
the step at which it took effect. That log is the whole difference between a live session and a batch run, and it is
enough to replay the session.

    class VAEKnobs(Knobs):
        beta = Real(1.0, 0, 100, "KL weight", symbol="β", slider=(0, 8))

    knobs = VAEKnobs(beta=4)
    knobs.beta = 0.5                                # by hand, from any thread
    knobs.drive("beta", cyclical(10_000, cycles=4)) # by a schedule
    knobs.release("beta")                           # by hand again
"""

from __future__ import annotations

import math
import threading
from numbers import Real as Number
from types import SimpleNamespace

import traitlets

from .errors import LabError
from .schedules import Schedule, from_dict


class _Knob:
    """What every kind of knob knows besides its value: how to be shown, and whom to tell when it is set."""

    def set(self, obj, value):
        # Not an observer: those hear of changes only, and a knob that a schedule drives is taken over even by
        # setting it to the value that it happens to have.
        value = self.validate(obj, value)
        obj._by_hand(self.name, value)
        super().set(obj, value)

    def _describe(self, label: str, symbol: str, help: str):
        self.label, self.symbol, self.help_text = label, symbol, help
        return self

    @property
    def title(self) -> str:
        return self.label + (f" {self.symbol}" if self.symbol else "")


class Real(_Knob, traitlets.Float):
    """A real number in [low, high]. ``slider`` narrows what a slider shows; ``log`` spaces it by powers of ten."""

    def __init__(self, default: float, low: float, high: float, label: str, *, symbol: str = "", help: str = "",
                 log: bool = False, slider: tuple[float, float] | None = None):
        super().__init__(float(default), help=help)
        self.low, self.high, self.log, self.slider = low, high, log, slider or (low, high)
        self._describe(label, symbol, help)

    def validate(self, obj, value):
        ok = isinstance(value, Number) and not isinstance(value, bool) and -math.inf < value < math.inf
        if not ok or not self.low <= value <= self.high:
            raise LabError(f"{self.label} ({self.name}) is {value!r}, but it must be a number from "
                           f"{self.low:g} to {self.high:g}.")
        return float(value)


class Whole(_Knob, traitlets.Int):
    """A whole number in [low, high]."""

    def __init__(self, default: int, low: int, high: int, label: str, *, symbol: str = "", help: str = "",
                 slider: tuple[int, int] | None = None):
        super().__init__(default, help=help)
        self.low, self.high, self.slider = low, high, slider or (low, high)
        self._describe(label, symbol, help)

    def validate(self, obj, value):
        ok = isinstance(value, Number) and not isinstance(value, bool) and self.low <= value <= self.high
        if not ok or value != int(value):
            raise LabError(f"{self.label} ({self.name}) is {value!r}, but it must be a whole number from "
                           f"{self.low} to {self.high}.")
        return int(value)


class Choice(_Knob, traitlets.Enum):
    """One of a few named options."""

    def __init__(self, default: str, options, label: str, *, symbol: str = "", help: str = ""):
        super().__init__(tuple(options), default, help=help)
        self._describe(label, symbol, help)

    def validate(self, obj, value):
        if value not in self.values:
            raise LabError(f"{self.label} ({self.name}) is {value!r}, but it must be one of: "
                           f"{', '.join(map(str, self.values))}.")
        return value


class Switch(_Knob, traitlets.Bool):
    """On or off."""

    def __init__(self, default: bool, label: str, *, symbol: str = "", help: str = ""):
        super().__init__(default, help=help)
        self._describe(label, symbol, help)

    def validate(self, obj, value):
        if not isinstance(value, bool):
            raise LabError(f"{self.label} ({self.name}) is {value!r}, but it must be True or False.")
        return value


class Knobs(traitlets.HasTraits):
    """A set of knobs. Subclass it with one :class:`Real`, :class:`Whole`, :class:`Choice` or :class:`Switch` a knob.

    Setting a knob is allowed from any thread and at any time; it takes effect at the top of the next step.

    Attributes:
        log: the changes so far, each ``{"step": k, "knob": name, "value": v}`` or, where a schedule took over,
            ``{"step": k, "knob": name, "schedule": {...}}``; in force from the step after ``k`` completed steps.
    """

    def __init__(self, **values):
        self._lock = threading.RLock()
        self._pending: list[dict] = []      # changes since the last step, not yet in force
        self._agenda: list[dict] = []       # changes that a replay still has to make, by step
        self._plan: list[dict] = []         # changes that a reset makes again
        self._schedules: dict[str, Schedule] = {}
        self._snapshot: SimpleNamespace | None = None
        self._names = tuple(self.traits())
        self._whole = {name for name, trait in self.traits().items() if isinstance(trait, Whole)}
        self.log: list[dict] = []
        for name in values:
            self._check_name(name)
        super().__init__(**values)
        self._pending.clear()
        self.initial = self.values()
        # What the run reads. The traits themselves may already hold a value that is not in force, because it is not
        # in the log, before the next step.
        self._in_force = self.values()

    # -- reading -------------------------------------------------------------------------------------------------

    def values(self) -> dict:
        """Every knob's present value."""
        return {name: getattr(self, name) for name in self._names}

    @property
    def schedules(self) -> dict:
        """The schedules in force, by knob."""
        return dict(self._schedules)

    def at(self, step: int) -> SimpleNamespace:
        """The values in force for the step that follows ``step`` completed ones. Called once a step, by the run."""
        with self._lock:
            if self._agenda:
                self._recall(step)
            if self._pending:
                self._take_in(step)
            for name, schedule in self._schedules.items():
                value = round(schedule(step)) if name in self._whole else schedule(step)
                # Past the traitlets machinery on purpose: a schedule moves a knob at every step, and observers
                # (sliders) must not be called three hundred times a second. Views read the value when they redraw.
                self._in_force[name] = self._trait_values[name] = value
                self._snapshot = None
            if self._snapshot is None:
                self._snapshot = SimpleNamespace(**self._in_force)
            return self._snapshot

    # -- writing -------------------------------------------------------------------------------------------------

    def drive(self, name: str, schedule: Schedule) -> None:
        """Let ``schedule`` set the knob from the next step on; a whole-numbered knob is rounded."""
        self._check_name(name)
        if not isinstance(schedule, Schedule):
            raise LabError(f"The knob {name!r} cannot be driven by {schedule!r}; give a schedule such as "
                           "cyclical(10_000).")
        self._check_schedule(name, schedule)
        with self._lock:
            self._pending.append({"knob": name, "schedule": schedule})

    def release(self, name: str) -> None:
        """Take the knob out of its schedule's hands; it stays where it is until it is moved."""
        self._check_name(name)
        with self._lock:
            self._pending.append({"knob": name, "value": getattr(self, name)})

    def as_made(self) -> None:
        """What has been set so far, and is not yet in force, belongs to the knobs as they were made: a :meth:`reset`
        sets it again. Experiments say so of the schedules that they give to a run."""
        with self._lock:
            self._plan = [{"step": 0, **event} for event in self._as_data(self._pending)] + self._plan

    def reset(self) -> None:
        """Back to the values and plans the knobs were made with, everything since and the log forgotten."""
        with self._lock:
            self._schedules.clear()
            for name, value in self.initial.items():
                setattr(self, name, value)
            self._pending.clear()
            self.log.clear()
            self._in_force = dict(self.initial)
            self._snapshot = None
            # What is planned for the very beginning is set now: a hand may still take it over before the first step.
            self._agenda = [event for event in self._plan if event["step"] > 0]
            for event in self._plan[:len(self._plan) - len(self._agenda)]:
                self._redo(event)

    # -- saving and replaying ------------------------------------------------------------------------------------

    def state(self) -> dict:
        """Everything needed to go on from here, as JSON-able data."""
        with self._lock:
            return {"initial": dict(self.initial), "values": dict(self._in_force), "log": list(self.log),
                    "schedules": {name: schedule.to_dict() for name, schedule in self._schedules.items()},
                    "pending": self._as_data(self._pending), "agenda": list(self._agenda)}

    def restore(self, state: dict) -> None:
        """Go back to ``state``."""
        with self._lock:
            self.initial = dict(state["initial"])
            self._schedules = {name: from_dict(d) for name, d in state["schedules"].items()}
            for name, value in state["values"].items():
                setattr(self, name, value)
            self._in_force = self.values()
            self.log[:] = state["log"]
            self._pending.clear()
            for event in state["pending"]:
                self._redo(event)
            self._agenda = list(state["agenda"])
            self._snapshot = None

    def forget_plans(self) -> None:
        """Drop the changes that are not yet in force: those made since the last step, and the rest of a replay."""
        with self._lock:
            self._pending.clear()
            self._agenda.clear()
            for name, value in self._in_force.items():
                setattr(self, name, value)
            self._pending.clear()

    def replay(self, log: list[dict], *, planned: bool = False) -> None:
        """Make the changes of ``log`` again, each at its own step. Changes by hand are still possible meanwhile.

        Changes that are ``planned`` belong to the knobs as they were made: a :meth:`reset` makes them again.
        """
        for event in log:
            self._check_name(event["knob"])
            if "schedule" in event:
                self._check_schedule(event["knob"], from_dict(event["schedule"]))
            else:
                self.traits()[event["knob"]].validate(self, event["value"])
        with self._lock:
            self._agenda = sorted(self._agenda + list(log), key=lambda event: event["step"])
            self._plan = sorted(self._plan + (log if planned else []), key=lambda event: event["step"])

    def reenact(self, initial: dict, log: list[dict]) -> None:
        """Become what the knobs of a recorded session were: its initial values, its changes at their steps, and nothing
        that these knobs were made with. A :meth:`reset` goes back to its beginning.

        Args:
            initial: a value for every knob.
        """
        for name in initial:
            self._check_name(name)
        for name in self._names:
            if name not in initial:
                raise LabError(f"The session has no initial value of {name!r}; the knobs are: "
                               f"{', '.join(self._names)}.")
        values = {name: self.traits()[name].validate(self, value) for name, value in initial.items()}
        with self._lock:
            made, self._plan = self._plan, []
            try:
                self.replay(log, planned=True)
            except LabError:
                self._plan = made
                raise
            self.initial = values
            self.reset()

    # -- inside --------------------------------------------------------------------------------------------------

    def _check_name(self, name):
        if name not in self._names:
            raise LabError(f"There is no knob named {name!r}; the knobs are: {', '.join(self._names)}.")

    def _check_schedule(self, name, schedule):
        for value in (schedule.start, schedule.stop):
            self.traits()[name].validate(self, value)

    @staticmethod
    def _as_data(events):
        return [event | {"schedule": event["schedule"].to_dict()} if "schedule" in event else event for event in events]

    def _by_hand(self, name, value):
        with self._lock:
            self._pending.append({"knob": name, "value": value})

    def _recall(self, step):
        while self._agenda and self._agenda[0]["step"] <= step:
            self._redo(self._agenda.pop(0))

    def _redo(self, event):
        if "schedule" in event:
            self.drive(event["knob"], from_dict(event["schedule"]))
        else:
            setattr(self, event["knob"], event["value"])

    def _take_in(self, step):
        pending, self._pending = self._pending, []
        latest = {event["knob"]: event for event in pending}       # many moves between two steps are one change
        for name, event in latest.items():
            entry = {"step": step, "knob": name}
            if "schedule" in event:
                self._schedules[name] = event["schedule"]
                entry["schedule"] = event["schedule"].to_dict()
            elif name in self._schedules or event["value"] != self._in_force[name]:
                self._schedules.pop(name, None)
                # A schedule may have moved the trait since.
                self._in_force[name] = self._trait_values[name] = entry["value"] = event["value"]
            else:
                continue                                            # there and back between two steps
            self.log.append(entry)
        self._snapshot = None
