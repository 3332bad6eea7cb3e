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
from types import SimpleNamespace

import traitlets

from .errors import LabError


class _Knob:
    """What every kind of knob knows besides its value: how to be shown."""

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
        ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
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
        ok = isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
        if not ok or not self.low <= value <= self.high:
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
        self._schedules: dict = {}
        self._snapshot: SimpleNamespace | None = None
        self._names = tuple(self.traits())
        self.log: list[dict] = []
        for name in values:
            self._check_name(name)
        super().__init__(**values)
        self.initial = self.values()
        self.observe(self._by_hand, names=traitlets.All)

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
        if self._agenda:
            self._recall(step)
        if self._pending:
            self._take_in(step)
        if self._schedules:
            for name, schedule in self._schedules.items():
                # Past the traitlets machinery on purpose: a schedule moves a knob at every step, and observers
                # (sliders) must not be called three hundred times a second. Views read the value when they redraw.
                self._trait_values[name] = schedule(step)
            self._snapshot = None
        if self._snapshot is None:
            self._snapshot = SimpleNamespace(**self.values())
        return self._snapshot

    # -- writing -------------------------------------------------------------------------------------------------

    def drive(self, name: str, schedule) -> None:
        """Let ``schedule`` (a callable of the step) set the knob from the next step on."""
        self._check_name(name)
        for value in (schedule.start, schedule.stop):
            self.traits()[name].validate(self, value)
        with self._lock:
            self._pending.append({"knob": name, "schedule": schedule})

    def release(self, name: str) -> None:
        """Take the knob out of its schedule's hands; it stays where it is until it is moved."""
        self._check_name(name)
        with self._lock:
            self._pending.append({"knob": name, "value": getattr(self, name)})

    def reset(self) -> None:
        """Back to the values the knobs were made with, all schedules and the log forgotten."""
        with self._lock:
            self._schedules.clear()
            for name, value in self.initial.items():
                setattr(self, name, value)
            self._pending.clear()
            self._agenda.clear()
            self.log.clear()
            self._snapshot = None

    # -- saving and replaying ------------------------------------------------------------------------------------

    def state(self) -> dict:
        """Everything needed to go on from here, as JSON-able data."""
        return {"initial": self.initial, "values": self.values(), "log": list(self.log),
                "schedules": {name: schedule.to_dict() for name, schedule in self._schedules.items()}}

    def restore(self, state: dict) -> None:
        """Go back to ``state``."""
        from .schedules import from_dict

        with self._lock:
            self.initial = dict(state["initial"])
            self._schedules.clear()
            for name, value in state["values"].items():
                setattr(self, name, value)
            self._schedules.update({name: from_dict(d) for name, d in state["schedules"].items()})
            self.log[:] = state["log"]
            self._pending.clear()
            self._agenda.clear()
            self._snapshot = None

    def replay(self, log: list[dict]) -> None:
        """Make the changes of ``log`` again, each at its own step. Changes by hand are still possible meanwhile."""
        for event in log:
            self._check_name(event["knob"])
        with self._lock:
            self._agenda = sorted(self._agenda + list(log), key=lambda event: event["step"])

    # -- inside --------------------------------------------------------------------------------------------------

    def _check_name(self, name):
        if name not in self._names:
            raise LabError(f"There is no knob named {name!r}; the knobs are: {', '.join(self._names)}.")

    def _by_hand(self, change):
        with self._lock:
            self._pending.append({"knob": change["name"], "value": change["new"]})

    def _recall(self, step):
        from .schedules import from_dict

        while self._agenda and self._agenda[0]["step"] <= step:
            event = self._agenda.pop(0)
            if "schedule" in event:
                self.drive(event["knob"], from_dict(event["schedule"]))
            elif getattr(self, event["knob"]) == event["value"]:
                self.release(event["knob"])
            else:
                setattr(self, event["knob"], event["value"])

    def _take_in(self, step):
        with self._lock:
            pending, self._pending = self._pending, []
        latest = {event["knob"]: event for event in pending}       # many moves between two steps are one change
        for name, event in latest.items():
            entry = {"step": step, "knob": name}
            if "schedule" in event:
                self._schedules[name] = event["schedule"]
                entry["schedule"] = event["schedule"].to_dict()
            else:
                self._schedules.pop(name, None)
                self._trait_values[name] = event["value"]          # a schedule may have moved it since
                entry["value"] = event["value"]
            self.log.append(entry)
        self._snapshot = None
